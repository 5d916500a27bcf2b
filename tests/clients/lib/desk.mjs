// The desk at which a paper is read: a folder, terminals, browser tabs, and the paper's addresses as
// they are here. Ports of the paper are those of `fanfare dev`, and 8000 to 8009 for servers of the reader's.
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { BASES, NODES, freeOffset, isFree } from "./cluster.mjs";
import { Page } from "./page.mjs";
import { VENV } from "./python.mjs";

const BLOCK = 90_000;
/** A slow machine may refuse for a moment: curl then does what the refusal advises. */
const CURL = `#!/bin/bash
PATH=\${PATH#*:}
case " $* " in *" -N "*) exec curl "$@" ;; esac
answer=$(mktemp)
curl --retry 10 --output "$answer" "$@"
code=$?
cat "$answer"
rm "$answer"
exit $code
`;

export class Desk {
  static async at(cluster) {
    // A paper that starts its own `fanfare dev` has it beside the story's.
    const offset = cluster?.offset ?? (await freeOffset());
    const own = await freeRow();
    return new Desk(cluster.binary, offset, own);
  }

  constructor(binary, offset, own) {
    Object.assign(this, { binary, offset, own, terminals: new Map(), tabs: new Map() });
    this.dir = mkdtempSync(join(tmpdir(), "fanfare-paper-"));
    this.work = join(this.dir, "work");
    mkdirSync(this.work);
    mkdirSync(join(this.dir, "bin"));
    const fanfare = join(this.dir, "bin", "fanfare");
    writeFileSync(fanfare, `#!/bin/sh
case "$1" in dev) shift; exec ${binary} dev --port-offset ${offset} "$@" ;; *) exec ${binary} "$@" ;; esac
`);
    chmodSync(fanfare, 0o755);
    const curl = join(this.dir, "bin", "curl");
    writeFileSync(curl, CURL);
    chmodSync(curl, 0o755);
    const path = process.env.PATH.split(delimiter);
    if (!path.some((folder) => existsSync(join(folder, "websocat")))) {
      const websocat = join(this.dir, "bin", "websocat");
      writeFileSync(websocat, `#!/bin/sh\nexec node ${import.meta.dirname}/websocat.mjs "$@"\n`);
      chmodSync(websocat, 0o755);
    }
    writeFileSync(this.#env(), "");
    this.kill = this.kill.bind(this);
    process.once("exit", this.kill);
  }

  #env() {
    return join(this.dir, "env");
  }

  /** Text of the paper with this desk's ports. */
  here(text) {
    const ports = new Map(BASES.flatMap((base) => NODES.map((node) => [`${base + node - 1}`, base + node - 1 + this.offset])));
    const moved = text.replace(/((?:127\.0\.0\.1|localhost):)(\d{4})\b/g, (all, host, port) => host + (ports.get(port) ?? port));
    return moved.replace(/\b800([0-9])\b/g, (_, last) => `${this.own + Number(last)}`);
  }

  /** Saves a file of the paper. */
  save(name, body) {
    mkdirSync(dirname(join(this.work, name)), { recursive: true });
    writeFileSync(join(this.work, name), this.here(body) + "\n");
  }

  #bash(script) {
    const env = {
      ...process.env,
      PATH: `${this.dir}/bin:${VENV}:${process.env.PATH}`,
      FANFARE_URL: `http://127.0.0.1:${8080 + this.offset}`,
      FANFARE_GRPC: `http://127.0.0.1:${9090 + this.offset}`,
      PYTHONUNBUFFERED: "1",
    };
    const child = spawn("bash", ["-c", script], { cwd: this.work, env, detached: true, stdio: ["pipe", "pipe", "pipe"] });
    const said = { child, stdout: "", stderr: "" };
    child.stdout.on("data", (bytes) => (said.stdout += bytes));
    child.stderr.on("data", (bytes) => (said.stderr += bytes));
    said.ended = new Promise((resolve) => child.once("close", resolve));
    return said;
  }

  /** Runs a block to its end; what it sets is there in the next one. Gives what it printed and its code. */
  async run(script) {
    const said = this.#bash(`set -euo pipefail\nset -a\n. ${this.#env()}\n${this.here(script)}\nexport -p >${this.#env()}`);
    said.child.stdin.end();
    const timer = setTimeout(() => end(said.child), BLOCK);
    const code = await said.ended;
    clearTimeout(timer);
    return { code, stdout: said.stdout, stderr: said.stderr };
  }

  /** Opens a terminal in which a block goes on running. */
  keep(terminal, script) {
    const before = this.terminals.get(terminal);
    if (before) end(before.child);
    const said = this.#bash(`. ${this.#env()}\n${this.here(script)}`);
    this.terminals.set(terminal, Object.assign(said, { script }));
  }

  /** True if what ran in a terminal ended with a refusal that advises to try again. */
  refused(terminal) {
    const { child, stdout } = this.terminals.get(terminal);
    return child.exitCode !== null && /"advice":"(reroute|retry_later)"/.test(stdout);
  }

  /** Types a terminal's block again. */
  again(terminal) {
    this.keep(terminal, this.terminals.get(terminal).script);
  }

  /** What a terminal has printed. */
  printed(terminal) {
    return this.terminals.get(terminal).stdout;
  }

  /** The tab of a page, opened at its address if it is not yet; served from here if nobody does. */
  async tab(url) {
    if (!this.tabs.has(url)) {
      const served = await fetch(this.here(url)).catch(() => undefined);
      if (!served?.ok) await this.#serve();
      this.tabs.set(url, await Page.open(this.here(url)));
    }
    return this.tabs.get(url);
  }

  #serve() {
    this.server = createServer((request, response) => {
      const file = join(this.work, basename(request.url));
      response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(readFileSync(file));
    });
    return new Promise((resolve) => this.server.listen(this.own, "127.0.0.1", resolve));
  }

  kill() {
    for (const { child } of this.terminals.values()) end(child);
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  async leave() {
    process.removeListener("exit", this.kill);
    for (const tab of this.tabs.values()) await tab.close();
    this.server?.close();
    for (const { child } of this.terminals.values()) end(child);
    await Promise.all([...this.terminals.values()].map(({ ended }) => ended));
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The first of ten ports in a row that are free, where no other test looks for any. */
async function freeRow() {
    for (;;) {
      const first = 31_800 + 10 * Math.floor(Math.random() * 90);
      const row = await Promise.all(Array.from({ length: 10 }, (_, at) => isFree(first + at)));
      if (row.every(Boolean)) return first;
    }
}

/** Ends a terminal with all that runs in it. */
function end(child) {
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}
