import assert from 'node:assert/strict';
import { createHmac, hash, X509Certificate } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { z } from 'zod';
import { openTrust } from '../../agent/announced-authorities.ts';
import { openAuditWitness } from '../../agent/audit-witness.ts';
import type { Channel, Frame } from '../../agent/channel.ts';
import {
  type Conversation as Session,
  type ConversationParts as SessionParts,
  startConversation as startSession,
} from '../../agent/conversation.ts';
import type { StateDir } from '../../agent/state-dir.ts';
import { lengthPrefixed, qualifyingData } from '../../attest-server/wire/binding.ts';
import { growingParts, type PartName, partNames } from '../../attest-server/wire/evidence.ts';
import { parseFacts } from '../../attest-server/wire/facts.ts';
import {
  type Challenge,
  type Hello,
  parseAgentMessage,
  parseServerMessage,
  type ServerMessage,
  type VerdictMessage,
} from '../../attest-server/wire/messages.ts';
import { assertAccepted, type Conversation, frameBytes, type Release, readReleases } from './recording.ts';

describe('the agent of this tree, towards recorded servers of each release', () => {
  for (const release of readReleases())
    describe(release.version, () => {
      for (const [name, conversation] of release.conversations)
        it(`takes every message of ${name}, and answers with what that server takes`, () =>
          replay(release, conversation));
    });
});

/** Tells the agent what the server said, and compares what it sends with what was sent then. */
async function replay(release: Release, conversation: Conversation): Promise<void> {
  const channel = new RecordedChannel(conversation);
  const state = stateInMemory();
  const tpm = new RecordedTpm(conversation);
  const witness = await openAuditWitness(state, assert.ifError);
  const verdicts: VerdictMessage[] = [];
  const refusals: string[] = [];
  const hello = recordedHello(conversation);
  const parts: SessionParts = {
    node: conversation.node,
    program: hello.versions.program,
    identity: { ek: hello.ek, ak: hello.ak, banks: hello.banks },
    tpm,
    joinToken: recordedToken(release, conversation),
    clusterToken: null,
    checkpoint: hello.checkpoint ?? null,
    authorities: hello.authorities ?? [],
    readNode: async (asked) => recordedNode(release, conversation, tpm.challenge, asked),
    signal: new AbortController().signal,
    on: {
      sent() {},
      accepted() {},
      verdict: (verdict) => verdicts.push(verdict),
      refused: ({ code }) => refusals.push(code),
      fault: assert.ifError,
    },
  };
  const session = startSession(channel, parts);
  const helloDigest = hash('sha256', String(channel.sent[0]), 'hex');

  for (const step of conversation.steps) {
    if (!('from' in step) || step.kind === 'close') continue;
    if (step.from === 'agent') {
      const recorded = step.kind === 'binary' ? frameBytes(release, step) : step.text;
      await unasked(session, recorded, verdicts.at(-1), channel);
      const sent = await channel.next();
      if (Buffer.isBuffer(recorded)) assert.deepEqual(sent, recorded);
      else compare(release, String(sent), recorded, { conversation, helloDigest, tpm });
      continue;
    }
    assert(step.kind === 'text', 'a server of that time sends no binary frame');
    const message = parseServerMessage(step.text);
    if (message.type === 'challenge') tpm.challenge = message;
    channel.tell(message);
    if (message.type === 'error') assert.deepEqual(refusals, [message.code]);
    if (message.type !== 'verdict') continue;
    assert.deepEqual(verdicts.at(-1), message);
    assert.equal(witness.observe(message), null);
  }
  await turn();
  assert.deepEqual([channel.sent.length, channel.closes], [channel.taken, []]);
}

/** What the agent says without being asked: its life (run.ts) makes it, here the recording does. */
async function unasked(
  session: Session,
  recorded: Frame,
  verdict: VerdictMessage | undefined,
  channel: Channel,
): Promise<void> {
  if (Buffer.isBuffer(recorded)) return;
  const message = z
    .looseObject({ type: z.string(), what: z.string().optional() })
    .parse(JSON.parse(recorded));
  if (message.type === 'changed') session.changed(message.what ?? '');
  else if (message.type === 'trusts') {
    const announced = verdict?.authorities ?? [];
    const inForce = new X509Certificate(announced[0]?.certificate ?? '');
    const trust = await openTrust([inForce], stateInMemory());
    assert(await trust.learn(announced, channel.peer));
    session.trusts(trust.digests);
  }
}

interface Occasion {
  readonly conversation: Conversation;
  readonly helloDigest: string;
  readonly tpm: RecordedTpm;
}

function compare(release: Release, sent: string, recorded: string, occasion: Occasion): void {
  const { fromAgent, facts } = release.accepted;
  const { conversation, helloDigest, tpm } = occasion;
  const said = Object.fromEntries(Object.entries(JSON.parse(sent)));
  const then = JSON.parse(recorded);
  // What it speaks may grow.
  if (said.type === 'hello') {
    delete said.speaks;
    delete then.speaks;
  }
  assertAccepted(fromAgent, said);
  if (said.type === 'activated') {
    const secret = Buffer.from(conversation.activationSecret ?? '', 'hex');
    const signed = lengthPrefixed([
      Buffer.from('assay/activated/1'),
      Buffer.from(conversation.channel, 'hex'),
      Buffer.from(helloDigest, 'hex'),
    ]);
    then.proof = createHmac('sha256', secret).update(signed).digest('hex');
  }
  if (said.type === 'evidence') {
    const message = evidence.parse(said);
    said.facts = JSON.parse(message.facts);
    assertAccepted(facts, said.facts);
    assert.equal(tpm.signed, toSign(message, conversation));
    // After the very same hello it is what that TPM signed.
    const factsThen = JSON.parse(then.facts);
    if (factsThen.helloDigest === helloDigest)
      assert(Buffer.from(message.quotes[0]?.attest ?? '', 'base64').includes(tpm.signed, 0, 'hex'));
    then.facts = { ...factsThen, helloDigest };
  }
  assert.deepEqual(said, then);
}

/** What the quote of this message must sign. */
function toSign(message: z.infer<typeof evidence>, { channel }: Conversation): string {
  return qualifyingData({
    nonce: Buffer.from(message.nonce, 'base64'),
    channel: Buffer.from(channel, 'hex'),
    facts: hash('sha256', message.facts, 'buffer'),
    bootLog: Buffer.from(message.parts.boot?.digest ?? '', 'hex'),
    keyRequest: Buffer.alloc(0),
  });
}

class RecordedChannel implements Channel {
  readonly binding: Buffer;
  readonly peer: X509Certificate;
  readonly closed = Promise.withResolvers<never>().promise;
  readonly sent: Frame[] = [];
  readonly closes: (string | undefined)[] = [];
  /** How many of them were looked at. */
  taken = 0;
  tell: (message: ServerMessage) => void = () => {};

  constructor({ channel, serverCertificate }: Conversation) {
    this.binding = Buffer.from(channel, 'hex');
    this.peer = new X509Certificate(serverCertificate);
  }
  listen(onMessage: (message: ServerMessage) => void): void {
    this.tell = onMessage;
  }
  send(...frames: readonly Frame[]): void {
    this.sent.push(...frames);
  }
  async sendInTurn(frames: Iterable<Frame>): Promise<void> {
    this.send(...frames);
  }
  close(_status?: number, code?: string): void {
    this.closes.push(code);
  }
  async next(): Promise<Frame> {
    for (let turns = 0; this.sent.length <= this.taken && turns < 1_000; turns++) await turn();
    const frame = this.sent[this.taken];
    assert(frame !== undefined, `nothing is sent after ${this.taken} frames; closed: ${this.closes}`);
    this.taken++;
    return frame;
  }
}

/** Gives what the TPM gave then. */
class RecordedTpm {
  readonly #conversation: Conversation;
  /** The one that is answered. */
  challenge: Challenge | null = null;
  /** What the last quote was to sign, hex. */
  signed = '';

  constructor(conversation: Conversation) {
    this.#conversation = conversation;
  }

  async quote(request: Parameters<NonNullable<SessionParts['tpm']>['quote']>[0]) {
    assert.deepEqual(request.selection, this.challenge?.selection);
    this.signed = request.qualifyingData.toString('hex');
    const quote = evidenceOf(this.#conversation).find(({ nonce }) => nonce === this.challenge?.nonce)
      ?.quotes[0];
    // No evidence was recorded for it: the PCRs moved then.
    if (quote === undefined) throw new ToolError('a PCR moved', { code: 'pcrs_moved', tool: 'tpm2_quote' });
    const pcrs = Object.entries(quote.pcrs).map(([bank, values]) => [bank, Buffer.from(values, 'base64')]);
    return {
      attest: Buffer.from(quote.attest, 'base64'),
      signature: Buffer.from(quote.signature, 'base64'),
      pcrs: Object.fromEntries(pcrs),
    };
  }

  async activateCredential({ credential, secret }: { credential: Buffer; secret: Buffer }) {
    const [activate] = fromServer(this.#conversation).filter(({ type }) => type === 'activate');
    assert.deepEqual(
      { type: 'activate', credential: credential.toString('base64'), secret: secret.toString('base64') },
      activate,
    );
    return Buffer.from(this.#conversation.activationSecret ?? '', 'hex');
  }
}

const fromServer = ({ steps }: Conversation): readonly ServerMessage[] =>
  steps.flatMap((each) =>
    each.kind === 'text' && each.from === 'server' ? [parseServerMessage(each.text)] : [],
  );

const fromAgent = ({ steps }: Conversation): readonly string[] =>
  steps.flatMap((each) => (each.kind === 'text' && each.from === 'agent' ? [each.text] : []));

/** As it travels: this tree may read it in another form. */
const evidence = z.looseObject({
  nonce: z.string(),
  quotes: z.array(
    z.strictObject({ attest: z.string(), signature: z.string(), pcrs: z.record(z.string(), z.string()) }),
  ),
  facts: z.string(),
  parts: z.record(z.string(), z.looseObject({ digest: z.string() })),
});

const evidenceOf = (conversation: Conversation): readonly z.infer<typeof evidence>[] =>
  fromAgent(conversation).flatMap((text) =>
    text.startsWith('{"type":"evidence",') ? [evidence.parse(JSON.parse(text))] : [],
  );

function recordedHello(conversation: Conversation): Hello {
  const hello = parseAgentMessage(fromAgent(conversation)[0] ?? '');
  assert(hello.type === 'hello');
  return hello;
}

function recordedToken(release: Release, { steps }: Conversation): string | null {
  const frame = steps.find((each) => each.kind === 'binary' && each.file === undefined);
  return frame?.kind === 'binary' ? frameBytes(release, frame).subarray(1).toString() : null;
}

/** What the collectors read for this challenge; where nothing was recorded for it, as for the first. */
function recordedNode(
  release: Release,
  conversation: Conversation,
  challenge: Challenge | null,
  asked: Parameters<SessionParts['readNode']>[0],
): Awaited<ReturnType<SessionParts['readNode']>> {
  const all = evidenceOf(conversation);
  const then = all.find(({ nonce }) => nonce === challenge?.nonce) ?? all[0];
  assert(then !== undefined);
  const { bootId, host, unavailable } = parseFacts(then.facts);
  const parts = recordedParts(release, then).filter(([name]) => asked.parts.includes(name));
  const isGrowing = ([name]: (typeof parts)[number]) => growingParts.has(name);
  const sent = new Set(conversation.steps.flatMap((step) => (step.kind === 'binary' ? [step.file] : [])));
  const wanted = asked.supplements?.loaderFiles?.of ?? [];
  const pieces = wanted.filter((digest) => sent.has(digest)).map(release.file);
  return {
    bootId,
    host: host ?? null,
    parts: new Map(parts.filter((part) => !isGrowing(part))),
    supplements: new Map([['loaderFiles', { from: 0, more: false, pieces }]]),
    unavailable: unavailable ?? {},
    readGrowing: async () => ({ parts: new Map(parts.filter(isGrowing)) }),
  };
}

function recordedParts(
  release: Release,
  { parts }: z.infer<typeof evidence>,
): readonly (readonly [PartName, Buffer])[] {
  return partNames.flatMap((name) =>
    parts[name] ? [[name, release.file(parts[name].digest)] as const] : [],
  );
}

function stateInMemory(): StateDir {
  const files = new Map<string, string>();
  return {
    wasOpened: null,
    read: async (name) => files.get(name) ?? null,
    write: async (name, text) => void files.set(name, text),
    remove: async (name) => void files.delete(name),
  };
}
