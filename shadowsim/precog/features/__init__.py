"""Evidence to a vector of named numbers, from history, telemetry, topology and script."""

from shadowsim.precog.features.document import document
from shadowsim.precog.features.feature import SOURCES, Feature
from shadowsim.precog.features.featurizer import FEATURES, NAMES, Featurizer

__all__ = ["FEATURES", "NAMES", "SOURCES", "Feature", "Featurizer", "document"]
