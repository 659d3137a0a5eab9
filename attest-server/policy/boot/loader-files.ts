import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { filePcr } from '../../wire/loader-files.ts';
import { strongestDigest } from './compared-pcrs.ts';
import { isConfiguration } from './only-read.ts';
import { referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import type { BootRules } from './rules.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/**
 * True if a configuration file that no reference has may be another one than the reference's: its place in the order of
 * what the loader read is that of one. Attack: an initrd that the log calls a configuration file, read beside the
 * known one, or with the digest of the known one extended by the system that it started.
 */
export function mayReadOtherConfiguration(
  boot: VouchedBoot,
  reference: PreparedReference,
  { scope }: BootRules,
): boolean {
  const knowCommands = boot.hasCommands && reference.components.hasCommands;
  return knowCommands && scope.loader !== 'node' && readsInOrder(boot, reference);
}

/** False if this file stands for one of the reference for which another one stood before. */
function isOneFile(others: Map<string, string>, key: string, { digests }: BootComponent): boolean {
  const digest = strongestDigest(digests) ?? '';
  const before = others.get(key) ?? digest;
  others.set(key, before);
  return before === digest;
}

/**
 * True if files of the same kinds are read as in the reference, each known one in its place. A configuration file that
 * the reference has twice may be another one, twice the same; behind one there may be more of which the bytes are text,
 * as a machine has more boot entries.
 */
export function readsInOrder(boot: VouchedBoot, { components }: PreparedReference): boolean {
  const { judged, texts, isReadable } = boot;
  const expected = components.all.filter(({ pcr }) => pcr === filePcr);
  const others = new Map<string, string>();
  let next = 0;
  for (const { component, stage } of judged) {
    if (component.pcr !== filePcr) continue;
    const known = referencedComponent(components, component, texts);
    if (known !== null && known.pcr === null) continue;
    const isAny = isConfiguration(known ?? component);
    // Attack: a kernel that the log calls one more. Text is none, and all that a loader does of it is a command.
    const isMore = isAny && isConfiguration(expected[next - 1]) && !isConfiguration(expected[next]);
    if (isMore && isReadable(component)) continue;
    // One may be absent: a machine has fewer boot entries.
    while (!isAny && isConfiguration(expected[next])) next++;
    const one = expected[next++];
    if (one === undefined) return false;
    const same = isAny ? isConfiguration(one) : known === null ? one.stage === stage : one.key === known.key;
    if (!same || (isAny && !isOneFile(others, one.key, component))) return false;
  }
  return true;
}
