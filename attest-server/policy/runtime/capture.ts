import { DigestList, type ListedFile } from '../../protocol/digest-list.ts';
import type { Reference, RuntimeFiles } from '../../protocol/reference.ts';
import type { Proven } from '../../verify/proven.ts';
import type { CapturedAs } from '../aspect.ts';
import { CaptureError } from '../capture-error.ts';

/**
 * A reference of all that a node ran and read since it booted; in steps of some milliseconds.
 * @throws CaptureError where it proved no list, or only a later part of one
 */
export function* captureRuntime(
  { ima }: Proven,
  { name, state, group, node, by, at }: CapturedAs,
): Generator<void, Reference> {
  if (ima === null)
    throw new CaptureError(`${node} sent no list of IMA: it measures nothing, or was not asked`);
  if (!('head' in ima))
    throw new CaptureError(`the list of IMA that ${node} sent proves nothing: ${ima.text}`);
  if (ima.since !== null)
    throw new CaptureError(`of the list of IMA of ${node} only the end is here: try again in a minute`);
  const files: ListedFile[] = [];
  const keyrings = new Map<string, NonNullable<RuntimeFiles['keyrings']>[number]>();
  yield* ima.walkInSteps((entry) => {
    if (entry.isViolation || !lengths.has(entry.digest.length)) return;
    const { name: called, digest } = entry;
    if (called === 'boot_aggregate') return;
    if (entry.data === null) files.push({ digest: Buffer.from(digest), path: called, package: null });
    else if (!changing.test(called) && called.length <= longestName && keyrings.size < mostKeys) {
      const hex = digest.toString('hex');
      keyrings.set(`${called} ${hex}`, { keyring: called, digest: hex, description: `as ${node} has it` });
    }
  }, entriesInStep);
  if (files.length + keyrings.size === 0)
    throw new CaptureError(`the kernel of ${node} measures nothing: its list of IMA has no file`);
  const list = yield* DigestList.ofInSteps(files);
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
      count: list.fileCount,
      ...(keyrings.size > 0 && { keyrings: [...keyrings.values()] }),
    },
    captured: { by, node, at: new Date(at).toISOString() },
  };
}

const entriesInStep = 4096;
/** As many as a reference may name. */
const mostKeys = 1024;
const longestName = 256;
/** Of the hashes that lists have. */
const lengths: ReadonlySet<number> = new Set([20, 32, 48, 64]);
/** What is another one on each machine, or after each change of it: no model for others. */
const changing = /^(?:kernel_version|selinux-[a-z-]+|dm_[a-z_]+)$/;
