import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { type QuoteRequest, ToolError, type ToolErrorCode } from 'node-tpm2';
import type { FoundSupplement } from '../../agent/collectors/collector.ts';
import { type AnswerContext, answer as answered } from '../../agent/evidence.ts';
import { parseFacts } from '../../attest-server/wire/facts.ts';
import {
  type Challenge,
  parseAgentMessage,
  parseBinaryFrame,
  parseSupplementFrame,
} from '../../attest-server/wire/messages.ts';

const log = Buffer.from('the log');
const digestOf = (bytes: Buffer) => hash('sha256', bytes, 'hex');
const records = Buffer.from('records');
const withRecords = { readGrowing: async () => ({ parts: new Map([['userSpace', records] as const]) }) };
const situation: AnswerContext = {
  node: 'node-1',
  bootId: '6f9619ff-8b86-d011-b42d-00cf4fc964ff',
  host: { kernel: '6.12' },
  parts: new Map([['boot', log]]),
  unavailable: {},
  readGrowing: async () => ({ parts: new Map() }),
  channel: Buffer.alloc(32, 7),
  helloDigest: 'ab'.repeat(32),
};
const challenge: Challenge = {
  type: 'challenge',
  nonce: Buffer.alloc(32, 1).toString('base64'),
  selection: { sha256: [0, 7] },
  purpose: 'attest',
  holds: [],
  parts: ['boot', 'userSpace', 'disk', 'unheardOf'],
  within: 30_000,
};

/** A TPM that fails with these codes first. */
function tpmThatFails(...codes: ToolErrorCode[]) {
  const requests: QuoteRequest[] = [];
  return {
    requests,
    async quote(request: QuoteRequest) {
      requests.push(request);
      const code = codes.shift();
      if (code !== undefined) throw new ToolError('no quote', { code, tool: 'tpm2_quote' });
      return { attest: Buffer.of(1), signature: Buffer.of(2), pcrs: { sha256: Buffer.alloc(64, 3) } };
    },
  };
}

const answer = async (...asked: Parameters<typeof answered>) => [...(await answered(...asked))];

describe('an answer', () => {
  it('sends the boot log before the evidence where the server does not hold it', async () => {
    const [first, second] = await answer(challenge, situation, tpmThatFails());
    assert(Buffer.isBuffer(first));
    assert.deepEqual(parseBinaryFrame(first), { kind: 'part', payload: log });
    const evidence = parseAgentMessage(String(second));
    assert(evidence.type === 'evidence');
    assert.deepEqual(evidence.parts, { boot: { digest: digestOf(log) } });
  });

  it('holds what user space measured, read once the quote is there', async () => {
    const tpm = tpmThatFails('pcrs_moved');
    let quotes = 0;
    const readGrowing = () => {
      quotes = tpm.requests.length;
      return withRecords.readGrowing();
    };
    const evidence = parseAgentMessage(
      String((await answer(challenge, { ...situation, readGrowing }, tpm)).at(-1)),
    );
    assert(evidence.type === 'evidence');
    assert.deepEqual(evidence.parts.userSpace, { digest: digestOf(records) });
    assert.equal(quotes, 2);
  });

  it('says nothing of what user space measured where there is no such log', async () => {
    const [, second] = await answer(challenge, situation, tpmThatFails());
    assert.equal(String(second).includes('userSpace'), false);
  });

  it('does not send a log that the server holds, nor one that is not there', async () => {
    const holds = [digestOf(log)];
    assert.equal((await answer({ ...challenge, holds }, situation, tpmThatFails())).length, 1);
    const [only] = await answer(challenge, { ...situation, parts: new Map() }, tpmThatFails());
    const evidence = parseAgentMessage(String(only));
    assert(evidence.type === 'evidence');
    assert.deepEqual(evidence.parts, {});
  });

  describe('of several parts', () => {
    const disk = Buffer.from('a disk');
    const whole: AnswerContext = {
      ...situation,
      ...withRecords,
      parts: new Map([
        ['boot', log],
        ['disk', disk],
      ]),
    };

    it('names them by digest, and sends before it in frames of their own what the server does not hold', async () => {
      const digests = [log, disk, records].map(digestOf);
      for (const holds of [[], digests.slice(0, 1), digests]) {
        const frames = await answer({ ...challenge, holds }, whole, tpmThatFails());
        const evidence = parseAgentMessage(String(frames.at(-1)));
        assert(evidence.type === 'evidence');
        const [boot = '', ofDisk = '', userSpace = ''] = digests;
        const parts = { boot: { digest: boot }, disk: { digest: ofDisk }, userSpace: { digest: userSpace } };
        assert.deepEqual(evidence.parts, parts);
        const sent = frames.slice(0, -1).map((frame) => {
          assert(Buffer.isBuffer(frame));
          return parseBinaryFrame(frame);
        });
        const missing = [log, disk, records].filter((bytes) => !holds.includes(digestOf(bytes)));
        assert.deepEqual(
          sent,
          missing.map((payload) => ({ kind: 'part', payload })),
        );
      }
    });

    it('says in its facts the digest of each part that does not grow, and of none that does', async () => {
      const evidence = parseAgentMessage(String((await answer(challenge, whole, tpmThatFails())).at(-1)));
      assert(evidence.type === 'evidence');
      assert.deepEqual(parseFacts(evidence.facts).parts, { disk: digestOf(disk) });
    });
  });

  describe('to a server that asks for IMA from an offset', () => {
    const ima = { of: [], from: 9, bootId: null, most: 100 };
    const asked: Challenge = { ...challenge, parts: ['boot'], supplements: { ima } };
    const [first, second] = [Buffer.from('first'), Buffer.from('second')];
    const reading = (found: FoundSupplement): Partial<AnswerContext> => ({
      readGrowing: async () => ({ parts: new Map(), supplements: new Map([['ima', found]]) }),
    });
    const saying = async (more: Partial<AnswerContext>) => {
      const frames = await answer(asked, { ...situation, parts: new Map(), ...more }, tpmThatFails());
      const evidence = parseAgentMessage(String(frames.at(-1)));
      assert(evidence.type === 'evidence');
      return { ima: evidence.supplements?.ima, frames: frames.slice(0, -1) };
    };

    it('sends the pieces in order, and names them, where they begin and whether there is more', async () => {
      const { ima, frames } = await saying(reading({ from: 9, more: true, pieces: [first, second] }));
      assert.deepEqual(ima, { from: 9, more: true, pieces: [first, second].map(digestOf) });
      assert.deepEqual(
        frames.map((frame) =>
          Buffer.isBuffer(frame) ? parseSupplementFrame(parseBinaryFrame(frame).payload) : frame,
        ),
        [first, second].map((piece) => ({ name: 'ima', piece })),
      );
    });

    it('says that nothing was added, which is not the same as that there is no list', async () => {
      const nothing = { from: 9, more: false, pieces: [] };
      assert.deepEqual((await saying(reading(nothing))).ima, nothing);
      assert.equal((await saying({})).ima, undefined);
    });

    it('reads it once the quote is there', async () => {
      const tpm = tpmThatFails('pcrs_moved');
      let quotes = 0;
      const readGrowing = async () => {
        quotes = tpm.requests.length;
        return { parts: new Map() };
      };
      await answer(asked, { ...situation, readGrowing }, tpm);
      assert.equal(quotes, 2);
    });
  });

  it('says in its facts what could not be read, in either form', async () => {
    const unavailable = { boot: 'not read within 5000 ms' };
    for (const parts of [undefined, ['boot']]) {
      const asked = parts === undefined ? challenge : { ...challenge, parts };
      const frames = await answer(asked, { ...situation, parts: new Map(), unavailable }, tpmThatFails());
      const evidence = parseAgentMessage(String(frames.at(-1)));
      assert(evidence.type === 'evidence');
      assert.deepEqual(parseFacts(evidence.facts).unavailable, unavailable);
    }
  });

  it('says first in its facts what ties them to the conversation', async () => {
    const evidence = parseAgentMessage(String((await answer(challenge, situation, tpmThatFails())).at(-1)));
    assert(evidence.type === 'evidence');
    parseFacts(evidence.facts);
    const members = ['purpose', 'node', 'bootId', 'helloDigest', 'host', 'parts'];
    assert.deepEqual(Object.keys(JSON.parse(evidence.facts)), members);
  });

  it('repeats a raced quote three times over the same bytes', async () => {
    const tpm = tpmThatFails('pcrs_moved', 'pcrs_moved', 'pcrs_moved');
    const frames = await answer(challenge, situation, tpm);
    assert.equal(parseAgentMessage(String(frames.at(-1))).type, 'evidence');
    assert.equal(new Set(tpm.requests.map(({ qualifyingData }) => qualifyingData.toString('hex'))).size, 1);
    assert.equal(tpm.requests.length, 4);
  });

  it('says evidence_raced alone where the PCRs never hold still', async () => {
    const tpm = tpmThatFails('pcrs_moved', 'pcrs_moved', 'pcrs_moved', 'pcrs_moved', 'pcrs_moved');
    const frames = await answer(challenge, situation, tpm);
    assert.deepEqual(frames.map(String).map(parseAgentMessage), [{ type: 'error', code: 'evidence_raced' }]);
    assert.equal(tpm.requests.length, 4);
  });

  it('does not repeat any other failure', async () => {
    const tpm = tpmThatFails('timeout');
    await assert.rejects(answer(challenge, situation, tpm), { code: 'timeout' });
    assert.equal(tpm.requests.length, 1);
  });

  it('refuses a nonce of another length', async () => {
    await assert.rejects(answer({ ...challenge, nonce: 'AAAA' }, situation, tpmThatFails()), {
      code: 'malformed',
    });
  });
});
