// A dev cluster of the built binary, in a directory of its own, on ports that were free; and a
// publisher of numbered messages that knows what was acked.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const LIMIT = 120_000;

/** Waits until `ask` gives something true. */
export async function until(what, ask, limit = LIMIT) {
  const end = Date.now() + limit;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${limit / 1000} s in vain for ${what}`);
    await sleep(50);
  }
}

const free = (port) => new Promise((told) => {
  const server = createServer().once("error", () => told(false));
  server.listen(port, "127.0.0.1", () => server.close(() => told(true)));
});

async function offset() {
  for (let tries = 0; tries < 50; tries += 1) {
    const at = 1000 + Math.floor(Math.random() * 20_000);
    const ports = [8080, 9090, 7070, 9100].flatMap((base) => [0, 1, 2].map((i) => base + i + at));
    const all = await Promise.all(ports.map(free));
    if (all.every(Boolean)) return at;
  }
  throw new Error("no free ports");
}

/** Starts `fanfare dev` and waits until its page is there. */
export async function start() {
  const binary = process.env.FANFARE_BIN;
  if (!binary) throw new Error("FANFARE_BIN names the binary to test");
  const dir = mkdtempSync(join(tmpdir(), "fanfare-browser-"));
  const at = await offset();
  const child = spawn(binary, ["dev", "--port-offset", String(at), "--dir", join(dir, "data"), "--fresh"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  let ended = null;
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => { log = (log + data).slice(-20_000); });
  const gone = new Promise((done) => child.once("exit", (code) => { ended = code ?? "a signal"; done(); }));
  const edges = [0, 1, 2].map((i) => `http://127.0.0.1:${8080 + i + at}`);
  await until("the cluster", async () => {
    if (ended !== null) throw new Error(`fanfare dev ended (${ended}):\n${log}`);
    return log.includes("fanfare is up");
  });
  return {
    edges,
    log: () => log,
    async stop() {
      child.kill("SIGTERM");
      await Promise.race([gone, sleep(20_000).then(() => child.kill("SIGKILL"))]);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Publishes number after number to a topic, each sent with its key until it is acked. */
export class Numbered {
  constructor(edges, topic, make) {
    Object.assign(this, { edges, topic, make, acked: [], again: 0, on: true, edge: 0 });
  }

  async run(every) {
    for (let number = 1; this.on; number += 1) {
      this.acked.push(await this.publish(number));
      await sleep(every);
    }
  }

  async publish(number) {
    const data = this.make(number);
    const text = typeof data === "string";
    const [key, born] = [`${this.topic}-${number}`, Date.now()];
    while (Date.now() - born < LIMIT) {
      try {
        const edge = this.edges[this.edge % this.edges.length];
        const answer = await fetch(`${edge}/v1/publish?topic=${this.topic}`, {
          method: "POST",
          body: text ? data : JSON.stringify(data),
          headers: {
            "Content-Type": text ? "text/plain; charset=utf-8" : "application/json",
            "Idempotency-Key": key,
            "Idempotency-Age": String(Date.now() - born),
          },
          signal: AbortSignal.timeout(8000),
        });
        const said = await answer.json();
        if (answer.ok) return said.position;
        if (said.advice === "give_up") throw new Error(`${this.topic}: ${said.code}: ${said.detail}`, { cause: "refused" });
      } catch (why) {
        if (why.cause === "refused") throw why;
      }
      this.again += 1;
      this.edge += 1;
      await sleep(100);
    }
    throw new Error(`${this.topic}: number ${number} was not acked in two minutes`);
  }
}
