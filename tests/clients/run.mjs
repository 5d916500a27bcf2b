// Runs the stories of `stories/` and the pages of `docs/` against clusters of FANFARE_BIN, one after
// another, each bounded in time, and counts. Arguments: only stories whose name has one of them.
import { existsSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { Cluster } from "./lib/cluster.mjs";
import { closeBrowser } from "./lib/page.mjs";
import { python } from "./lib/python.mjs";
import { read } from "./lib/read.mjs";

const LIMIT = 120_000;
const here = import.meta.dirname;
const docs = resolve(here, "../../docs");
/** The papers whose every block is run; docs/operations.md has a test of its own. */
const PAPERS = ["tutorial.md", "concepts.md", "transports.md", "recipes.md"];
const binary = resolve(process.env.FANFARE_BIN ?? `${here}/../../target/debug/fanfare`);
const wanted = process.argv.slice(2);

/** All stories, each in a cluster that it shares with those of its file. A paper has its own. */
async function chapters() {
  const files = readdirSync(`${here}/stories`).sort();
  const scripts = files.filter((file) => file.endsWith(".mjs"));
  const modules = await Promise.all(scripts.map((file) => import(`./stories/${file}`)));
  const snakes = files.filter((file) => file.endsWith(".py"));
  const papers = PAPERS.filter((paper) => existsSync(`${docs}/${paper}`));
  const reading = papers.map((paper) => [`docs/${paper}: every snippet`, (cluster) => read(`${docs}/${paper}`, cluster)]);
  return [
    ...modules.map(({ stories }) => stories),
    ...snakes.map((file) => python(`${here}/stories/${file}`)),
    ...reading.map((paper) => Object.fromEntries([paper])),
  ];
}

async function bounded(run) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${LIMIT / 1000} s`)), LIMIT);
  });
  try {
    return await Promise.race([run(), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function main() {
  if (!existsSync(binary)) throw new Error(`no binary at ${binary}: build it or say FANFARE_BIN`);
  const score = { passed: 0, failed: 0, skipped: 0 };
  for (const chapter of await chapters()) {
    const mine = Object.entries(chapter).filter(([name]) => !wanted.length || wanted.some((word) => name.includes(word)));
    if (!mine.length) continue;
    let cluster = await Cluster.start(binary);
    for (const [name, story] of mine) {
      const begun = performance.now();
      const took = () => `${((performance.now() - begun) / 1000).toFixed(1)} s`;
      try {
        const said = await bounded(() => story(cluster));
        score.passed++;
        console.log(`ok    ${name} (${said}; ${took()})`);
      } catch (why) {
        if (why.missing) {
          score.skipped++;
          console.log(`SKIP  ${name}: ${why.message}`);
          continue;
        }
        score.failed++;
        console.log(`FAIL  ${name} (${took()}): ${why.stack ?? why}\n--- log\n${cluster.log().slice(-3000)}`);
        // What a failed story left behind is no other story's business.
        await cluster.stop();
        cluster = await Cluster.start(binary);
      }
    }
    await cluster.stop();
  }
  await closeBrowser();
  const skipped = score.skipped ? `, ${score.skipped} skipped` : "";
  console.log(`${score.passed} passed, ${score.failed} failed${skipped}`);
  process.exit(score.failed || !score.passed ? 1 : 0);
}

await main();
