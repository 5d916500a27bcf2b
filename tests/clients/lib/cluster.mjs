// A `fanfare dev` cluster of a story: a temporary directory, ports of its own, nodes that can be
// killed and started again, and messages counted from 1. Nothing of it outlives the process.
import { spawn, execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { until } from "./until.mjs";

export const BASES = [7070, 8080, 9090, 9100];
export const NODES = [1, 2, 3];
const STARTS = 5;

export class Cluster {
  /** Starts three nodes of the binary and waits until they serve. */
  static async start(binary) {
    for (let attempt = 1; ; attempt++) {
      const cluster = new Cluster(binary, await freeOffset());
      if (await cluster.#up()) return cluster;
      const said = cluster.log();
      await cluster.stop();
      // Somebody took a port between the look and the start: the next look finds others.
      if (attempt === STARTS || !/in use/i.test(said)) throw new Error(`dev did not start:\n${said}`);
    }
  }

  constructor(binary, offset) {
    this.binary = binary;
    this.offset = offset;
    this.dir = mkdtempSync(join(tmpdir(), "fanfare-clients-"));
    const log = openSync(join(this.dir, "log"), "a");
    const args = ["dev", "--port-offset", `${offset}`, "--dir", join(this.dir, "data")];
    this.process = spawn(binary, args, { stdio: ["ignore", log, log] });
    closeSync(log);
    this.ended = new Promise((resolve) => this.process.once("exit", resolve).once("error", resolve));
    this.kill = this.kill.bind(this);
    process.once("exit", this.kill);
  }

  async #up() {
    const up = until("dev is up", () => this.log().includes("fanfare is up"), 120_000);
    return Promise.race([up.then(() => true), this.ended.then(() => false)]);
  }

  /** What the nodes have written. */
  log() {
    return readFileSync(join(this.dir, "log"), "utf8");
  }

  edge(node) {
    return `127.0.0.1:${8079 + node + this.offset}`;
  }

  grpc(node) {
    return `127.0.0.1:${9089 + node + this.offset}`;
  }

  /** `kill`, `start`, `stop`, `pause` or `resume` of a node, asked of another one. */
  async act(node, act) {
    const other = NODES.find((n) => n !== node);
    const answer = await fetch(`http://${this.edge(other)}/dev/nodes/${node}/${act}`, { method: "POST" });
    const said = await answer.text();
    if (!answer.ok) throw new Error(`${act} of node ${node}: ${said}`);
  }

  /** Runs a command of the binary against this cluster. */
  async cli(...args) {
    const env = { ...process.env, FANFARE_URL: `http://${this.edge(1)}`, FANFARE_GRPC: `http://${this.grpc(1)}` };
    return promisify(execFile)(this.binary, args, { env, timeout: 60_000 });
  }

  /**
   * Publishes the numbers `first` to `last`, in batches to nodes 1 and 2 in turn, each draft with a
   * key until it is acked. `at` names a number and what happens once it is placed, beside the others;
   * the last batch waits for all of that.
   */
  async publish(topic, first, last, { batch = 5, pause = 20, at = {}, draft = {} } = {}) {
    const meanwhile = [];
    for (let n = first; n <= last; n += batch) {
      if (n + batch > last) await Promise.all(meanwhile);
      const numbers = Array.from({ length: Math.min(batch, last - n + 1) }, (_, more) => n + more);
      await this.#place(numbers.map((data) => ({ topic, data, key: randomUUID(), ...draft })), n);
      for (const number of numbers) if (at[number]) meanwhile.push(at[number]());
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    await Promise.all(meanwhile);
  }

  async #place(drafts, turn) {
    const begun = Date.now();
    for (let left = drafts; left.length; turn++) {
      const age = Date.now() - begun;
      if (age > 60_000) throw new Error(`not placed within a minute: ${JSON.stringify(left)}`);
      const body = left.map((draft) => `${JSON.stringify({ ...draft, key_age_ms: age })}\n`).join("");
      const headers = { "Content-Type": "application/x-ndjson" };
      const to = `http://${this.edge(1 + (turn % 2))}/v1/publish/batch`;
      const answer = await fetch(to, { method: "POST", headers, body }).catch(() => undefined);
      const lines = (await answer?.text().catch(() => ""))?.split("\n").filter(Boolean) ?? [];
      const acked = new Set(lines.map((line) => JSON.parse(line)).filter((line) => line.ack).map(({ index }) => index));
      left = left.filter((_, index) => !acked.has(index));
      if (left.length) await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  kill() {
    this.process.kill("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  async stop() {
    process.removeListener("exit", this.kill);
    this.process.kill("SIGKILL");
    await this.ended;
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** An offset at which all ports of a dev cluster are free, below those of other tests. */
export async function freeOffset() {
  const begin = Math.floor(Math.random() * 40);
  for (let step = 0; step < 40; step++) {
    const offset = 60 + ((begin + step) % 40) * 20;
    const ports = BASES.flatMap((base) => NODES.map((node) => base + offset + node - 1));
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return offset;
  }
  throw new Error("no free ports for a dev cluster");
}

export function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
