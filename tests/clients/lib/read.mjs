// Reads a paper from its first line to its last: runs its blocks, compares what it says they print,
// and looks into its pages.
import { unseen, steps } from "./paper.mjs";
import { Desk } from "./desk.mjs";
import { interpreter } from "./python.mjs";
import { until } from "./until.mjs";

const SEEN = 60_000;

/** Proves every block of a paper; gives how many there are. */
export async function read(path, cluster) {
  const all = steps(path);
  const own = all.some(({ kind, body }) => kind === "run" && /^fanfare dev\b/m.test(body));
  const desk = await Desk.at(own ? { binary: cluster.binary } : cluster);
  try {
    const state = { desk, files: new Map(), ends: new Map(), last: undefined, missing: new Set() };
    for (const step of all) {
      await prove(step, state).catch((why) => {
        why.message = `line ${step.line}: ${why.message}`;
        if (!why.missing) throw why;
        state.missing.add(why.message);
        state.last = undefined;
      });
    }
    const idle = [...state.files].filter(([, file]) => !file.used).map(([name]) => name);
    if (idle.length) throw new Error(`nothing uses ${idle}`);
    const passed = state.missing.size ? `, of them NOT proved: ${[...state.missing].join("; ")}` : "";
    return `${all.length} blocks${passed}`;
  } finally {
    await desk.leave();
  }
}

async function prove(step, state) {
  const { desk } = state;
  const { name, terminal } = step.options;
  switch (step.kind) {
    case "file":
      if (!name) throw new Error("a file without a name");
      state.files.set(name, { body: step.body });
      return desk.save(name, step.body);
    case "run":
      for (const [file, at] of state.files) if (step.body.includes(file)) at.used = true;
      if (terminal) return desk.keep(terminal, step.body), state.ends.set(terminal, 0);
      if (/\bpython3 \w+\.py/.test(step.body)) interpreter();
      state.last = await desk.run(step.body);
      return checkCode(step, state.last);
    case "seen":
      return terminal ? terminalShows(step, terminal, state) : blockShows(step, state.last);
    case "page":
      return pageShows(step, state);
    case "type":
      return pageTakes(step, state);
  }
}

/** A block ends well unless it says otherwise itself. */
function checkCode(step, { code, stdout, stderr }) {
  if (code !== Number(step.options.exit ?? 0)) {
    throw new Error(`exit code ${code} of:\n${step.body}\n--- printed\n${stdout}${stderr}`);
  }
}

function blockShows(step, last) {
  // The command could not be had, which is said already.
  if (!last) return;
  const { stdout, stderr } = last;
  const { missing } = unseen(step.body, stdout);
  if (missing !== undefined) throw new Error(`the paper says \`${missing}\`, which is not in:\n${stdout}${stderr}`);
}

async function terminalShows(step, terminal, { desk, ends }) {
  const shown = desk.here(step.body);
  let result;
  await until(`terminal ${terminal} shows it`, () => {
    if (desk.refused(terminal)) {
      desk.again(terminal);
      ends.set(terminal, 0);
    }
    result = unseen(shown, desk.printed(terminal), ends.get(terminal));
    return result.missing === undefined;
  }, SEEN).catch(() => {
    throw new Error(`the paper says \`${result.missing}\`, which terminal ${terminal} does not print:\n${desk.printed(terminal)}`);
  });
  ends.set(terminal, result.at);
}

/** `<!-- type FILE at=URL` and lines `SELECTOR = TEXT`: the text typed there, and Enter. */
async function pageTakes(step, { desk }) {
  const { name, at } = step.options;
  const tab = await desk.tab(`${at}/${name}`);
  for (const line of step.body.split("\n").filter(Boolean)) {
    const [selector, text] = line.split(" = ");
    await tab.page.fill(selector, text);
    await tab.page.press(selector, "Enter");
  }
}

/**
 * `<!-- page FILE at=URL` and lines `SELECTOR = TEXT`: the page, opened there, comes to have such an
 * element with a text that has this in it; `SELECTOR # N`: it comes to have N of them.
 */
async function pageShows(step, { desk, files }) {
  const { name, at } = step.options;
  const file = files.get(name);
  if (!file) throw new Error(`no file ${name}`);
  file.used = true;
  const tab = await desk.tab(`${at}/${name}`);
  for (const line of step.body.split("\n").filter(Boolean)) {
    const [, selector, sign, want] = line.match(/^(.*?) ([=#]) (.*)$/);
    let texts;
    await until("the page shows it", async () => {
      texts = await tab.texts(selector);
      return sign === "=" ? texts.some((text) => text.includes(want)) : texts.length === Number(want);
    }).catch(() => {
      throw new Error(`the page does not come to have \`${line}\` but ${JSON.stringify(texts)}; its console: ${tab.console.join("\n")}`);
    });
  }
}
