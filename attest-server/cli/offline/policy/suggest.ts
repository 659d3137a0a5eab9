import { basename, resolve } from 'node:path';
import { policyView } from '../../../api/api.ts';
import { observationsAnswer } from '../../../api/policy-api.ts';
import { parseBundle } from '../../../formats/bundle.ts';
import { atOnce } from '../../../formats/in-steps.ts';
import { likeReferences, observe } from '../../../policy/draft/observation.ts';
import { postureObserver } from '../../../policy/draft/posture.ts';
import { type SuggestedFrom, suggestPolicy } from '../../../policy/draft/suggest.ts';
import { groupOf, unmatched } from '../../../policy/policy.ts';
import { verifyBundleEvidence } from '../../../verify/bundle-evidence.ts';
import { Rejection } from '../../../wire/rejection.ts';
import type { Client } from '../../client.ts';
import type { CliContext } from '../../context.ts';
import { readFile } from '../../read-file.ts';
import { readNodes } from '../../read-nodes.ts';
import { into } from '../../write-file.ts';
import { bundlesIn } from '../files-in.ts';
import { contextPolicy, contextReferences } from '../verify/verify.ts';

/** `policy suggest`: a draft that `policy check` passes, with comments that say why. */
export async function draftPolicy(
  { io, server }: CliContext,
  { bundles, file }: { readonly bundles?: string; readonly file?: string },
): Promise<void> {
  const from =
    bundles === undefined
      ? await askServer(await server())
      : fromBundles(bundlesIn(resolve(io.cwd, bundles)));
  into(file, io).out(suggestPolicy(from));
}

async function askServer(client: Client): Promise<SuggestedFrom> {
  const observations: SuggestedFrom['observations'][number][] = [];
  const unseen: string[] = [];
  const claimWithoutTpm: string[] = [];
  for (let next: string | null = ''; next !== null; ) {
    const after: string = next === '' ? '' : `?after=${encodeURIComponent(next)}`;
    const page = await client.get(`/v1/policy/observations${after}`, observationsAnswer);
    observations.push(...page.items);
    unseen.push(...page.unseen);
    claimWithoutTpm.push(...page.withoutTpm);
    next = page.next;
  }
  const nodes = await readNodes(client);
  const withoutTpm = nodes.filter(({ state }) => state === 'unsupported').map(({ name }) => name);
  const { groups } = await client.get('/v1/policy', policyView);
  const rest = groups.find(({ nodes, labels }) => nodes.includes('*') && Object.keys(labels).length === 0);
  return { observations, unseen, withoutTpm, claimWithoutTpm, enrolment: rest?.enrolment ?? null };
}

function fromBundles(paths: readonly string[]): SuggestedFrom {
  const observations: SuggestedFrom['observations'][number][] = [];
  const unseen: string[] = [];
  for (const path of paths) {
    const file = basename(path, '.json');
    try {
      const bundle = parseBundle(readFile(path).toString('utf8'));
      const proven = verifyBundleEvidence(bundle, null);
      const name = proven.facts?.node ?? bundle.context?.node ?? file;
      const manufacturer = proven.facts?.host?.manufacturer ?? null;
      const policy = contextPolicy(bundle);
      const known = contextReferences(bundle);
      const group = policy === null ? unmatched : groupOf(policy, name, bundle.context?.labels);
      const like = policy === null ? undefined : likeReferences(known, 0)(proven, name, group);
      const posture = atOnce(postureObserver(policy === null ? [] : known, 0)(proven, name, group));
      const node = { name, tpmClass: bundle.context?.tpmClass ?? 'unknown', manufacturer } as const;
      observations.push(observe(proven, node, like, posture));
    } catch (error) {
      if (!(error instanceof Rejection)) throw error;
      unseen.push(file);
    }
  }
  return { observations, unseen, withoutTpm: [] };
}
