// The studio's addresses. Every error becomes one line for the person at the page.

export class Trouble extends Error {}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Trouble("The studio does not answer. Is it still running?");
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Trouble(body.error ?? `The studio answered ${answer.status}.`);
  return body;
}

const send = (path, body, type) => ask(path, { method: "POST", body, headers: { "Content-Type": type } });

export const model = () => ask("/api/model");
export const pictures = () => ask("/api/pictures");
export const begin = (settings) => send("/api/runs", JSON.stringify(settings), "application/json");
export const stop = (id) => send(`/api/jobs/${encodeURIComponent(id)}/stop`, "{}", "application/json");
export const drop = (file) => send("/api/dropped", file, "application/octet-stream");
export const illustrate = (name) =>
  send(`/api/pictures/${encodeURIComponent(name)}/illustrate`, "{}", "application/json");

export const pictureAddress = (name) => `/pictures/${encodeURIComponent(name)}`;
export const pageAddress = (name) => `/pages/${encodeURIComponent(name)}`;
export const droppedAddress = (sha256) => `/dropped/${sha256}`;

// Follow a job to its end: hear is called with each event's kind and data. The browser reconnects by itself and goes on
// where it was; what ends the job resolves, or rejects with the job's error.
export function follow(id, hear) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(`/api/jobs/${encodeURIComponent(id)}/events`);
    const end = (settle, value) => {
      events.close();
      settle(value);
    };
    for (const kind of ["begin", "step"]) {
      events.addEventListener(kind, (event) => hear(kind, JSON.parse(event.data)));
    }
    events.addEventListener("made", (event) => end(resolve, JSON.parse(event.data)));
    events.addEventListener("error", (event) => {
      if (event.data !== undefined) end(reject, new Trouble(JSON.parse(event.data).message));
      else if (events.readyState === EventSource.CLOSED) end(reject, new Trouble("The studio has forgotten this run."));
    });
  });
}
