// Brings the page to life: nodes, stories, picture, publisher, figures. Runs before htmx begins.

import { at, put } from "./say.js";
import { Nodes } from "./nodes.js";
import { Picture } from "./picture.js";
import { Publisher } from "./publish.js";
import { figures } from "./figures.js";
import { bell } from "./bell.js";
import { score } from "./score.js";
import { chat } from "./chat.js";
import { track } from "./track.js";

const nodes = new Nodes(["bell", "score", "chat", "track"].map((name) => `demo.${name}`));
const stories = [bell, score, chat, track].map((make) => make(nodes));
new Picture(nodes, stories);
new Publisher(nodes, stories.at(-1));
figures(stories);

// The command names a node that is up.
const command = () => {
  const base = (nodes.up()[0] ?? nodes.list[0])?.base ?? location.origin;
  put(at("curl"), `curl '${base}/v1/publish?topic=demo.chat' -d 'hello'`);
};
nodes.addEventListener("change", command);
command();
at("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(at("curl").textContent);
    put(at("copy"), "Copied");
  } catch {
    getSelection().selectAllChildren(at("curl"));
    put(at("copy"), "Selected");
  }
  setTimeout(() => put(at("copy"), "Copy"), 1500);
});

// The first story hangs on the node that served the page, the others on those after it.
const here = () => nodes.list.find((node) => node.base === location.origin) ?? nodes.list[0];
const begin = () => {
  if (nodes.list.length === 0) return;
  nodes.removeEventListener("change", begin);
  let number = here().number;
  for (const story of stories) {
    story.start(number);
    number = nodes.next(number);
  }
};
nodes.addEventListener("change", begin);
void nodes.watch();
