/** Of a reference's name; `formats/reference.ts` says the same. */
const longest = 63;

/**
 * A name for the reference of a boot: by the day on which it was first proven and by its evidence, since a machine may boot
 * twice within a minute.
 */
export function referenceNameFor(node: string, bootSeenAt: string, evidence: string): string {
  const boot = `-${bootSeenAt.slice(0, 10).replaceAll('-', '')}-${evidence.slice(0, 6)}`;
  return node.slice(0, longest - boot.length) + boot;
}
