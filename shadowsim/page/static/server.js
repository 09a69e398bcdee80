// The server of this page: what it tells, and what is said to it. The token stays in this tab.

const KEY = "shadowsim-token";
const AGAIN_MS = 1000;

/** Take the token out of the address, where it came behind the '#', so that it stands nowhere. */
export function takeToken() {
  const given = location.hash.slice(1);
  if (given && !given.startsWith("/")) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", "#/");
  }
}

const headers = () => ({ Authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}` });

async function checked(answer) {
  if (answer.ok) return answer;
  let text = `the server answered ${answer.status}`;
  try { text = (await answer.json()).error ?? text; } catch { /* then that number is all there is to say */ }
  throw Object.assign(new Error(text), { status: answer.status });
}

export const ask = async (path) => (await checked(await fetch(path, { headers: headers() }))).json();
export const picture = async (path) => URL.createObjectURL(await (await checked(await fetch(path, { headers: headers() }))).blob());

export const answer = async (question, approve) => checked(await fetch("/answer", {
  method: "POST", headers: { ...headers(), "Content-Type": "application/json" }, body: JSON.stringify({ question, approve }),
}));

/** Tell `news` of every change of the view, and `link` how the connection is; for ever. */
export async function follow(news, link) {
  for (;;) {
    try {
      const reply = await checked(await fetch("/live", { headers: headers() }));
      link("connected");
      let text = "";
      const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const events = (text + part.value).split("\n\n");
        text = events.pop();
        for (const event of events) {
          const data = event.split("\n").find((line) => line.startsWith("data: "));
          if (data) news(JSON.parse(data.slice(6)));
        }
      }
    } catch (error) {
      link(error.status === 401 ? "no token" : "not connected");
      await new Promise((done) => { setTimeout(done, AGAIN_MS); });
    }
  }
}
