// Stories told in Python: functions `story_…` of a file, run in the venv beside this folder, one
// process each. Their last line is what they say; a status other than 0 is a failure.
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { promisify } from "node:util";

/** The commands of the venv that .ci/clients makes of requirements.txt. */
export const VENV = `${import.meta.dirname}/../venv/bin`;

/** The interpreter with the packages of requirements.txt; throws what makes a story skipped. */
export function interpreter() {
  if (existsSync(`${VENV}/python`)) return `${VENV}/python`;
  throw Object.assign(new Error("no venv: .ci/clients makes it"), { missing: true });
}

/** The stories of a file by name. */
export function python(file) {
  const names = [...readFileSync(file, "utf8").matchAll(/^(?:async )?def (story_\w+)/gm)].map(([, name]) => name);
  const client = basename(file, ".py").replace("_", " ");
  return Object.fromEntries(
    names.map((name) => [`${client}: ${name.slice(6).replaceAll("_", " ")}`, (cluster) => tell(cluster, file, name)]),
  );
}

async function tell(cluster, file, name) {
  const nodes = [1, 2, 3];
  const env = {
    ...process.env,
    PYTHONPATH: `${import.meta.dirname}/../lib`,
    PYTHONDONTWRITEBYTECODE: "1",
    EDGES: nodes.map((node) => cluster.edge(node)).join(","),
    GRPCS: nodes.map((node) => cluster.grpc(node)).join(","),
  };
  const options = { env, timeout: 110_000, killSignal: "SIGKILL" };
  const { stdout } = await promisify(execFile)(interpreter(), ["-m", "tell", file, name], options);
  return stdout.trim().split("\n").at(-1);
}
