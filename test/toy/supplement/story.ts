// Runs in the copy of the product that has the toy: from a file of the node to the bundle, printed as JSON.
import { hash } from 'node:crypto';
import { pino } from 'pino';
import { collectors } from '../../../agent/collectors/list.ts';
import { answer } from '../../../agent/evidence.ts';
import { nodeReader } from '../../../agent/node-reader.ts';
import { supplementList } from '../../../attest-server/attest/supplements/list.ts';
import type { LackingAnswer } from '../../../attest-server/attest/supplements/supplement.ts';
import { freshChallenge } from '../../../attest-server/channel/challenge.ts';
import { Session } from '../../../attest-server/channel/session.ts';
import { keptContext, Packer } from '../../../attest-server/evidence/pack.ts';
import { unpackEvidence } from '../../../attest-server/evidence/unpack.ts';
import { atOnce } from '../../../attest-server/formats/in-steps.ts';
import { checkListed } from '../../../attest-server/verify/listed-parts.ts';
import { type Introduction, spokenWords } from '../../../attest-server/wire/messages.ts';

const [sysroot = '', digest = ''] = process.argv.slice(2);
const blobs = new Map<string, Buffer>();
const read = async (each: string) => blobs.get(each) ?? null;

// The supplement that nobody ships, behind the ports that it needs.
const list = supplementList({ ports: { evidence: { readPart: read }, verdicts: {} } } as never);
const toy = list.find(({ name }) => name === 'initrds');
if (toy === undefined) throw new Error('the toy is not in the list');

const node = { name: 'node-1', ekDigest: '' };
const parts = { inventory: { digest: '', bytes: Buffer.from(`note ${digest}\n`) } };
const lacking = { node, proven: { parts } } as unknown as LackingAnswer;
const first = await toy.take(lacking, { asked: null, came: null }, null);

// Asked for in a challenge, read by the agent, and sent in frames.
const channel = Buffer.alloc(32);
const session = new Session(channel);
const text = JSON.stringify({
  type: 'hello',
  versions: { protocol: [1, 1], program: '0' },
  role: 'agent',
  node: node.name,
  banks: [],
  ek: null,
  ak: null,
  joinToken: false,
  speaks: spokenWords,
});
session.take(text, 0);
session.identified(null);
const place = toy.ask(node.name, channel);
const asked = { selection: {}, holds: [], parts: [], paths: [], supplements: place && { initrds: place } };
const [challenge, nonce] = freshChallenge(
  { ...asked, supplements: asked.supplements ?? {} },
  session.hello as Introduction,
  { within: 1000, isProven: true, most: () => 4096 },
);
session.challenge(challenge, nonce, 0);
const readNode = nodeReader(collectors(null), sysroot, pino({ level: 'silent' }));
const collected = await readNode({ parts: [], supplements: challenge.supplements ?? {} });
const quote = { attest: Buffer.of(1), signature: Buffer.of(1), pcrs: {} };
const situation = { ...collected, node: node.name, channel, helloDigest: hash('sha256', text, 'hex') };
const frames = await answer(challenge, situation, { quote: async () => quote });
let judge: ReturnType<Session['take']> = null;
for (const frame of frames) judge = session.take(frame, 0);
if (judge?.do !== 'judge') throw new Error(`the answer came to ${JSON.stringify(judge)}`);

// Taken, verified, and kept: the bundle has it.
const taken = await toy.take(lacking, judge.supplements.initrds, null);
const given = taken?.is === 'enough' ? taken.given : null;
if (given?.part == null) throw new Error(`it was not taken: ${JSON.stringify(taken)}`);
const listed = atOnce(
  checkListed({ parts: { initrds: given.part }, given: given.files, memory: null, inAllBanks: false }),
);
const { own, shared } = new Packer().pack(
  { ...node, ekPublicArea: channel, ekCertificate: null, ak: { name: '', publicArea: channel } },
  {
    nonce,
    channel,
    quotes: [],
    facts: '',
    parts: { initrds: given.part },
    supplements: [
      {
        name: 'initrds',
        tail: null,
        blobs: Array.from(given.files, ([each, bytes]) => ({ digest: each, bytes })),
      },
    ],
  },
  { banks: [], clock: { resetCount: 0, restartCount: 0, clock: 0n, safe: true } },
  { at: 0, sentParts: [], memory: {}, labels: {}, previous: undefined, by: 'agent' },
  keptContext('policy', []),
);
for (const blob of [own, ...shared]) blobs.set(blob.digest, blob.bytes);
const bundle = await unpackEvidence(own.digest, read);
process.stdout.write(
  JSON.stringify({
    first,
    asked: place,
    verified: [...(listed.initrds as unknown as Map<string, string>)],
    inBundle: Buffer.from(bundle?.files?.[digest] ?? '', 'base64').toString(),
    wants: toy.ask(node.name, channel),
  }),
);
