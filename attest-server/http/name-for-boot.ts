/** Of a reference's name; `protocol/reference.ts` says the same. */
const longest = 63;

/** A name for the reference of a boot, by the minute in which it was first proven: no other boot of the node has it. */
export function nameForBoot(node: string, bootSeenAt: string): string {
  const minute = `-${bootSeenAt.slice(0, 16).replace(/[-:]/g, '').replace('T', '-')}`;
  return node.slice(0, longest - minute.length) + minute;
}
