// What becomes of a role that nobody ships, in the product of this folder, which has one row more: printed as JSON.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Action } from '../../attest-server/channel/session.ts';
import { checkAttestationKey } from '../../attest-server/verify/attestation-key.ts';
import type { Challenge } from '../../attest-server/wire/messages.ts';
import type { Role } from '../../attest-server/wire/roles.ts';
import { forgedTpm } from '../attest-server/forged-tpm.ts';
import { madeProof } from '../attest-server/policy/made-proof.ts';
import { madeQuote } from '../attest-server/verify/made-quote.ts';

const [copy = ''] = process.argv.slice(2);
const load = (file: string) => import(join(copy, 'attest-server', file));
const { Session }: typeof import('../../attest-server/channel/session.ts') = await load('channel/session.ts');
const { keptContext, Packer }: typeof import('../../attest-server/evidence/pack.ts') =
  await load('evidence/pack.ts');
const { unpackEvidence }: typeof import('../../attest-server/evidence/unpack.ts') =
  await load('evidence/unpack.ts');
const { verifyBundle }: typeof import('../../attest-server/cli/offline/verify/verify.ts') = await load(
  'cli/offline/verify/verify.ts',
);
const { verifyBundle: verifyWithout } = await import('../../attest-server/cli/offline/verify/verify.ts');

// Words that the contract of this tree does not know.
const survey = 'survey' as Role;
const node = 'node-1';
const tpm = forgedTpm();
const channel = Buffer.alloc(32, 7);

const did = (action: Action | null) => (action?.do === 'refuse' ? `refuse ${action.code}` : action?.do);
const saidBy = (role: string, next: object) => {
  const session = new Session(channel);
  const hello = session.take(JSON.stringify({ ...tpm.hello(node), role }), 0);
  session.identified(null);
  return [did(hello), did(session.take(JSON.stringify(next), 0))];
};

/** What the server keeps of an answer of this role, and exports. */
async function exported(by: Role): Promise<string> {
  const nonce = randomBytes(32);
  const challenge: Challenge = {
    ...({ type: 'challenge', purpose: 'attest', nonce: nonce.toString('base64') } as const),
    ...{ selection: {}, holds: [], parts: [], within: 1 },
  };
  const hello = JSON.stringify(tpm.hello(node));
  const { quotes, facts } = tpm.evidence(
    challenge,
    { node, hello, channel },
    { quote: (signed) => madeQuote(tpm.ak, signed, { pcrs: { sha256: Buffer.alloc(24 * 32) } }) },
  );
  const ekPublicArea = tpm.ek.publicArea;
  const ak = checkAttestationKey(tpm.ak.publicArea);
  const { banks, clock } = madeProof({ ima: null });
  const { own, shared } = new Packer().pack(
    { name: node, ekDigest: tpm.ekDigest, ekPublicArea, ekCertificate: null, ak },
    { nonce, channel, quotes, facts, parts: {}, supplements: [] },
    { banks, clock },
    { at: 0, sentParts: [], memory: {}, labels: {}, previous: undefined, by },
    keptContext(policy, []),
  );
  const blobs = new Map([own, ...shared].map(({ digest, bytes }) => [digest, bytes]));
  const bundle = await unpackEvidence(own.digest, async (digest) => blobs.get(digest) ?? null);
  return JSON.stringify(bundle);
}

const policy = [
  'apiVersion: assay.dev/v1\nkind: Policy\ngroups:',
  '  - {name: all, nodes: ["*"], require: [identity]}\n',
].join('\n');
const judged = (verify: typeof verifyBundle, text: string) => {
  const { verdict, rejected } = verify(text, { now: 0 });
  const [reason] = verdict.reasons;
  return [rejected ? 'rejected' : verdict.state, reason?.code ?? null, reason?.actual ?? null];
};
const bySurvey = await exported(survey);
process.stdout.write(
  JSON.stringify({
    allowed: saidBy(survey, { type: 'opened', why: 'timeout', bootId: '0'.repeat(36), reason: '' }),
    denied: saidBy(survey, { type: 'changed', what: 'x' }),
    unknown: saidBy('surveyor', { type: 'changed', what: 'x' })[0],
    named: JSON.parse(bySurvey).context.by,
    judged: judged(verifyBundle, bySurvey),
    agent: judged(verifyBundle, await exported('agent')),
    withoutRow: judged(verifyWithout, bySurvey),
  }),
);
