import { DigestList, type ListedFile } from '../../protocol/digest-list.ts';
import type { Reference } from '../../protocol/reference.ts';
import type { Proven } from '../../verify/proven.ts';
import type { CapturedAs } from '../aspect.ts';
import { CaptureError } from '../capture-error.ts';

/**
 * A reference of all that a node ran and read since it booted.
 * @throws CaptureError where it proved no list, or only a later part of one
 */
export function captureRuntime({ ima }: Proven, { name, state, group, node, by, at }: CapturedAs): Reference {
  if (ima === null)
    throw new CaptureError(`${node} sent no list of IMA: it measures nothing, or was not asked`);
  if (!('head' in ima))
    throw new CaptureError(`the list of IMA that ${node} sent proves nothing: ${ima.text}`);
  if (ima.since !== null)
    throw new CaptureError(`of the list of IMA of ${node} only the end is here: try again in a minute`);
  const files: ListedFile[] = [];
  const measured = new Map<string, Set<string>>();
  ima.walk((entry) => {
    if (entry.isViolation || !lengths.has(entry.digest.length)) return;
    const { name: called, digest } = entry;
    if (called === 'boot_aggregate') return;
    if (entry.data === null) files.push({ digest: Buffer.from(digest), path: called, package: null });
    else if (!changing.test(called)) {
      const its = measured.get(called) ?? new Set();
      measured.set(called, its.add(digest.toString('hex')));
    }
  });
  const list = DigestList.of(files);
  return {
    version: 1,
    kind: 'runtime',
    name,
    group: group.name,
    state,
    expires: null,
    pcrs: {},
    components: [],
    events: [],
    runtime: {
      files: list.toBytes().toString('base64'),
      count: list.size,
      ...(measured.size > 0 && {
        measured: Object.fromEntries([...measured].map(([what, digests]) => [what, [...digests].sort()])),
      }),
    },
    captured: { by, node, at: new Date(at).toISOString() },
  };
}

/** Of the hashes that lists have. */
const lengths: ReadonlySet<number> = new Set([20, 32, 48, 64]);
/** What is another one on each machine, or after each change of it: no model for others. */
const changing = /^(?:kernel_version|selinux-[a-z-]+|dm_[a-z_]+)$/;
