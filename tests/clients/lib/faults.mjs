// What happens to a cluster while a story's messages are published.

/** Kills node 3 after a third of the messages and starts it again after two thirds. */
export function leaves(cluster, count) {
  const [third, rest] = [Math.floor(count / 3), Math.floor((2 * count) / 3)];
  let killed;
  return {
    [third]: () => (killed = cluster.act(3, "kill")),
    [rest]: () => killed.then(() => cluster.act(3, "start")),
  };
}
