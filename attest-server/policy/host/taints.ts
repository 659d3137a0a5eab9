/** The taints of a kernel, by bit (kernel documentation, admin-guide/tainted-kernels): letter and meaning. */
const taints = [
  ['P', 'a proprietary module was loaded'],
  ['F', 'a module was loaded by force'],
  ['S', 'it runs on hardware out of its specification'],
  ['R', 'a module was unloaded by force'],
  ['M', 'a machine check was reported'],
  ['B', 'a bad page was found'],
  ['U', 'a user asked for this mark'],
  ['D', 'it died once: an oops or a BUG'],
  ['A', 'an ACPI table was overridden'],
  ['W', 'it gave a warning'],
  ['C', 'a staging driver was loaded'],
  ['I', 'it works around a fault of the firmware'],
  ['O', 'an out-of-tree module was loaded'],
  ['E', 'an unsigned module was loaded'],
  ['L', 'a soft lockup occurred'],
  ['K', 'it was patched while running'],
  ['X', 'the distribution set its own mark'],
  ['T', 'it was built with randomised structures'],
  ['N', 'a test of the kernel was run in it'],
  ['J', 'user space changed firmware of a device'],
] as const;
export type KernelTaint = (typeof taints)[number][0];

export const taintLetters: readonly KernelTaint[] = taints.map(([letter]) => letter);

/** Letters of the bits that are set; a bit that has none yet is shown by its number. */
export function taintsOf(mask: number): readonly string[] {
  // The mask may be longer than 32 bits one day, where operators on bits do not count any more.
  const bits = BigInt(mask).toString(2).split('').reverse();
  return bits.flatMap((bit, index) => (bit === '1' ? [taints[index]?.[0] ?? `bit ${index}`] : []));
}

/** As a person reads it: `E (an unsigned module was loaded)` */
export function taintText(letter: string): string {
  const meaning = taints.find(([known]) => known === letter)?.[1];
  return meaning === undefined ? letter : `${letter} (${meaning})`;
}
