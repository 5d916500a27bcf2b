// Publishes from the page over HTTP: each draft has a key, and is sent again with it to another node
// until its outcome is known. "Make it busy" tells all four stories at a gentle rate.

import { at, codeWords, count, delay, pause, put } from "./say.js";
import { key } from "./chat.js";

// A forgotten tab does not publish for ever.
const BUSY = 10 * 60 * 1000;
// Half the window in which a key is known.
const PATIENCE = 60000;
const TIMEOUT = 6000;

const names = ["Ada", "Linus", "Grace", "Edsger", "Barbara"];
const pick = (list) => list[Math.floor(Math.random() * list.length)];

const acts = {
  bell: {
    every: 4000,
    next: () => `${pick(names)} ${pick(["liked your photo", "answered you", "follows you", "mentioned you", "shared your post"])}`,
  },
  score: {
    every: 3200,
    state: { home: 0, away: 0, minute: 0 },
    next(s = this.state) {
      s.minute += 1;
      if (s.minute > 90) Object.assign(s, { home: 0, away: 0, minute: 1 });
      const goal = Math.random();
      const text = goal < 0.12 ? "Goal for Rovers!" : goal < 0.22 ? "Goal for United!"
        : pick(["Corner for United", "Rovers press", "Shot, wide", "A save!", "Throw-in", "Free kick for Rovers"]);
      if (goal < 0.12) s.home += 1;
      else if (goal < 0.22) s.away += 1;
      return { ...s, text };
    },
  },
  chat: {
    every: 2600,
    next: () => ({
      from: pick(names),
      text: pick(["did you see that?", "on my way", "deploying now, nobody will notice", "lunch?", "who killed n2?", "my train was in a tunnel", "all messages are here", "ship it", "😀 it came back by itself"]),
    }),
  },
  track: {
    every: 2000,
    state: { way: 0, stop: 0 },
    next(s = this.state) {
      if (s.way >= 100) Object.assign(s, { way: 0, stop: 0 });
      s.way = Math.min(100, s.way + 4);
      s.stop += 1;
      const text = s.way === 100 ? "At the door. Enjoy!"
        : `Scan ${s.stop}: ${pick(["harbour", "ring road", "market square", "old bridge", "station", "mill lane"])}`;
      return { way: s.way, eta: Math.ceil((100 - s.way) / 4), text };
    },
  },
};

export class Publisher {
  constructor(nodes, track) {
    Object.assign(this, { nodes, track, acked: 0, again: 0, last: null, run: 0 });
    this.button = at("busy");
    this.button.addEventListener("click", () => this.toggle());
    at("flood").addEventListener("click", () => this.flood());
  }

  toggle() {
    const on = this.button.getAttribute("aria-pressed") !== "true";
    this.button.setAttribute("aria-pressed", String(on));
    put(this.button, on ? "Make it quiet" : "Make it busy");
    const run = (this.run += 1);
    if (!on) return;
    for (const [name, act] of Object.entries(acts)) void this.keep(run, name, act);
    setTimeout(() => { if (this.run === run) this.toggle(); }, BUSY);
  }

  async keep(run, name, act) {
    await pause(Math.random() * 800);
    while (this.run === run) {
      if (!document.hidden) await this.publish(`demo.${name}`, act.next());
      await pause(act.every * (0.7 + 0.6 * Math.random()));
    }
  }

  /** One draft to its end: acked, refused, or unknown after a minute. */
  async publish(topic, data) {
    const draft = {
      path: `/v1/publish?topic=${topic}`,
      type: typeof data === "string" ? "text/plain; charset=utf-8" : "application/json",
      body: typeof data === "string" ? data : JSON.stringify(data),
    };
    const [name, born] = [key(), performance.now()];
    let number = this.nodes.next(null);
    if (number === null) return null;
    for (let tries = 0; performance.now() - born < PATIENCE; tries += 1) {
      const sent = performance.now();
      try {
        const answer = await fetch(`${this.nodes.node(number).base}${draft.path}`, {
          method: "POST",
          body: draft.body,
          headers: { "Content-Type": draft.type, "Idempotency-Key": name, "Idempotency-Age": String(Math.round(sent - born)) },
          signal: AbortSignal.timeout(TIMEOUT),
        });
        const said = await answer.json();
        if (answer.ok) return this.done(said, performance.now() - sent);
        if (said.advice === "give_up") return this.tell(`Refused: ${said.detail}`);
        this.tell(`${codeWords(said.code)}: sent again with the same key.`);
      } catch {
        this.tell(`${this.nodes.node(number).name} did not answer: sent again with the same key, to take one place.`);
      }
      this.again += 1;
      this.nodes.suspect(number);
      number = this.nodes.next(number);
      await pause(Math.min(3000, 200 * 2 ** tries) * (0.5 + Math.random() / 2));
    }
    return this.tell("One message has an unknown outcome after a minute of trying.");
  }

  done(ack, took) {
    this.acked += 1;
    this.last = took;
    const again = this.again === 0 ? "" : `, ${count(this.again, "sending")} repeated with the same key`;
    this.tell(`${count(this.acked, "message")} published and on the disks of a majority, the last in ${delay(took)}${again}.`);
    return ack;
  }

  tell(words) {
    put(at("publisher"), words);
    return null;
  }

  /** Drops the tracker, publishes more than its topic keeps, and lets it come back. */
  async flood() {
    const button = at("flood");
    button.disabled = true;
    const flooded = this.fill("demo.track", 1020);
    void this.track.drop(flooded.catch(() => {}));
    try {
      await flooded;
      this.tell("1,020 messages went to the tracker’s topic, which keeps 1,000.");
    } catch {
      this.tell("The node went away in the middle of it.");
    }
    button.disabled = false;
  }

  /** So many small messages, in batches. */
  async fill(topic, total) {
    const size = total / 2;
    for (let from = 0; from < total; from += size) {
      const line = (_, n) => JSON.stringify({ topic, data: { text: `Scan of a whole warehouse, ${from + n + 1}` } });
      const answer = await fetch(`${this.nodes.node(this.nodes.next(null)).base}/v1/publish/batch`, {
        method: "POST",
        body: Array.from({ length: size }, line).join("\n"),
        headers: { "Content-Type": "application/x-ndjson" },
      });
      await answer.text();
    }
  }
}
