import { parseBundle } from '../../../formats/bundle.ts';
import { atOnce } from '../../../formats/in-steps.ts';
import type { RuntimeFiles } from '../../../formats/reference.ts';
import { captureReferencesInSteps } from '../../../policy/capture.ts';
import { CaptureError } from '../../../policy/capture-error.ts';
import { groupOf } from '../../../policy/policy.ts';
import { verifyBundleEvidence } from '../../../verify/bundle-evidence.ts';
import { printable } from '../../../wire/printable.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { type Client, Refusal } from '../../client.ts';
import { evidenceDigest } from '../../evidence-digest.ts';
import { CliError, exit } from '../../exit.ts';
import { readHistory } from '../../read-history.ts';
import { readNode } from '../../read-nodes.ts';
import { shownDigits } from '../../readable.ts';
import { contextPolicy } from '../verify/verify.ts';

/** The measured files of a node as a reference would list them, and the evidence that they are from. */
export interface NodeFiles {
  readonly runtime: RuntimeFiles;
  readonly label: string;
}

/**
 * @param given `NODE`: the evidence of its last trusted verdict; or `NODE@DIGEST` for another one
 * @param at milliseconds since the epoch
 * @throws CliError if none is kept, or it is no model for others
 */
export async function readNodeFiles(server: Client, given: string, at: number): Promise<NodeFiles> {
  const [node = '', digits] = given.split('@');
  const { text, label } =
    digits === undefined
      ? await readTrusted(server, node)
      : await readEvidence(server, node, evidenceDigest(node, digits));
  try {
    return { runtime: filesIn(text, node, at), label };
  } catch (cause) {
    if (!(cause instanceof Rejection || cause instanceof CaptureError)) throw cause;
    throw new CliError(
      `${label} lists no files: ${cause.message}`,
      `See what it shows:\n  assay why ${printable(node)}`,
      exit.error,
      cause,
    );
  }
}

/** By the same steps as a capture at the server: what that refuses is refused here. */
function filesIn(text: string, node: string, at: number): RuntimeFiles {
  const bundle = parseBundle(text);
  const policy = contextPolicy(bundle);
  if (policy === null) throw new CaptureError('the server says no policy with it');
  const proven = verifyBundleEvidence(bundle, null);
  const group = groupOf(policy, node, bundle.context?.labels ?? {});
  const about = { name: 'files', state: 'staged', by: '-', at, only: null } as const;
  const [made] = atOnce(captureReferencesInSteps('runtime', [{ node, proven }], group, about));
  if (made?.runtime === undefined) throw new Error('a capture of kind runtime lists no files');
  return made.runtime;
}

interface LabelledEvidence {
  readonly text: string;
  readonly label: string;
}

async function readTrusted(server: Client, node: string): Promise<LabelledEvidence> {
  if ((await readNode(server, node)).state === 'trusted') return readEvidence(server, node, null);
  let before: string | null = null;
  do {
    const page = await readHistory(server, node, { limit: 500, transitions: false, before });
    for (const { state, evidence } of page.items) {
      if (state !== 'trusted' || evidence === null) continue;
      const found = await readKept(server, node, evidence);
      if (found !== null) return found;
    }
    before = page.next;
  } while (before !== null);
  throw new CliError(
    `the server keeps no evidence of a trusted verdict of ${printable(node)}`,
    `Choose a piece of evidence yourself; you vouch for it:\n  assay history ${printable(node)} -o wide`,
  );
}

/** Null if it was erased. */
async function readKept(server: Client, node: string, digest: string): Promise<LabelledEvidence | null> {
  try {
    return await readEvidence(server, node, digest);
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return null;
    throw error;
  }
}

async function readEvidence(server: Client, node: string, digest: string | null): Promise<LabelledEvidence> {
  const which = digest === null ? '' : `?evidence=${digest}`;
  const label = digest === null ? node : `${node}@${digest.slice(0, shownDigits)}`;
  return { label, text: await server.text(`/v1/nodes/${encodeURIComponent(node)}/bundle${which}`) };
}
