import { DigestList } from '../../formats/digest-list.ts';
import { digestLengths, type ListedFile } from '../../formats/packed-list.ts';
import type { KnownKey, Reference } from '../../formats/reference.ts';
import type { Proven } from '../../verify/proven.ts';
import type { CaptureLabel } from '../aspect.ts';
import { CaptureError } from '../capture-error.ts';
import { capturedReference } from '../captured-reference.ts';
import { isCriticalData } from './critical-data.ts';

/**
 * A reference of all that a node ran and read since it booted; in steps of some milliseconds.
 * @throws CaptureError if it proved no list, or only a later part of one
 */
export function* captureRuntime({ ima }: Proven, about: CaptureLabel): Generator<void, Reference> {
  const { node } = about;
  if (ima === null)
    throw new CaptureError(`${node} sent no list of IMA: it measures nothing, or was not asked`);
  if (!('head' in ima))
    throw new CaptureError(`the list of IMA that ${node} sent proves nothing: ${ima.text}`);
  if (ima.since !== null)
    throw new CaptureError(`of the list of IMA of ${node} only the end is here: try again in a minute`);
  const files: ListedFile[] = [];
  const keyrings = new Map<string, KnownKey>();
  yield* ima.walkInSteps((entry) => {
    if (entry.isViolation || !digestLengths.includes(entry.digest.length)) return;
    if (ima.isBootAggregate(entry)) return;
    const { name: called, digest } = entry;
    if (entry.data === null) files.push({ digest: Buffer.from(digest), path: called, package: null });
    else if (!isCriticalData(called) && called.length <= longestName && keyrings.size < mostKeys) {
      const hex = digest.toString('hex');
      keyrings.set(`${called} ${hex}`, { keyring: called, digest: hex, description: `as ${node} has it` });
    }
  }, entriesInStep);
  if (files.length + keyrings.size === 0)
    throw new CaptureError(`the kernel of ${node} measures nothing: its list of IMA has no file`);
  const list = yield* DigestList.ofInSteps(files);
  const runtime = {
    files: list.toBytes().toString('base64'),
    count: list.fileCount,
    ...(keyrings.size > 0 && { keyrings: [...keyrings.values()] }),
  };
  return capturedReference({ kind: 'runtime', runtime }, about);
}

const entriesInStep = 4096;
/** As many as a reference may name. */
const mostKeys = 1024;
const longestName = 256;
