import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { openBrokerTpm } from '../../../agent/tpm-broker/client.ts';
import { encodeFrame } from '../../../agent/tpm-broker/frames.ts';
import type { CheckedRequest } from '../../../agent/tpm-broker/requests.ts';
import { connectRaw, startBroker } from './started-broker.ts';

const pcrs = { sha256: Buffer.alloc(32, 7) };
const readPCRs = { verb: 'readPCRs', selection: { sha256: [0] } };
/** Answers each request as one of PCR 0. */
const answering = async (request: CheckedRequest) => {
  assert.equal(request.verb, 'readPCRs');
  return { pcrs: { sha256: pcrs.sha256.toString('base64') } };
};
const selection = { sha256: [0] };

describe('the TPM broker', () => {
  it('answers while others send garbage, half a frame or nothing (row 151)', async () => {
    await using broker = await startBroker(answering, { patienceMs: 1500 });
    await using silent = await connectRaw(broker.socket);
    await using half = await connectRaw(broker.socket);
    half.socket.write(encodeFrame('json', Buffer.from(JSON.stringify(readPCRs))).subarray(0, 20));
    await using garbage = await connectRaw(broker.socket);
    garbage.socket.write(Buffer.alloc(100_000, 0x55));
    assert.deepEqual(await openBrokerTpm(broker.socket).readPcrs(selection), pcrs);
    assert.deepEqual([silent.socket.destroyed, half.socket.destroyed], [false, false]);
    await Promise.all([silent.closed, half.closed, garbage.closed]);
    assert.deepEqual(
      broker.events.map((event) => (event.code === 'client_refused' ? event.why : event.code)).sort(),
      ['frame', 'silent', 'silent'],
    );
  });

  it('closes at the header of an oversized frame, before its bytes are there (row 151)', async () => {
    await using broker = await startBroker(answering);
    await using client = await connectRaw(broker.socket);
    client.socket.write(Buffer.from([1, 0xff, 0xff, 0xff, 0xff]));
    const frame = await client.next();
    assert.equal(JSON.parse(String(frame?.payload)).error.code, 'bad_input');
    await client.closed;
  });

  for (const [what, request] of [
    ['another verb', { verb: 'extend', pcr: 0 }],
    ['a key of its own', { verb: 'activate', credential: 'AAAA', secret: 'AAAA', key: '0x81010001' }],
    [
      'qualifying data of 31 bytes',
      { verb: 'quote', qualifyingData: Buffer.alloc(31).toString('base64'), selection },
    ],
    [
      'qualifying data of 65 bytes',
      { verb: 'quote', qualifyingData: Buffer.alloc(65).toString('base64'), selection },
    ],
    ['no PCR', { verb: 'readPCRs', selection: {} }],
    ['PCR 24', { verb: 'readPCRs', selection: { sha256: [24] } }],
    ['25 PCRs', { verb: 'readPCRs', selection: { sha256: new Array(25).fill(1) } }],
    ['a bank that is none', { verb: 'readPCRs', selection: { 'sha256:0 -T x': [0] } }],
    [
      'a credential that is too long',
      { verb: 'activate', credential: Buffer.alloc(133).toString('base64'), secret: 'AAAA' },
    ],
    ['no Base64', { verb: 'activate', credential: '%%%%', secret: 'AAAA' }],
    ['a list', []],
  ] as const)
    it(`takes no request with ${what}, and does not ask the TPM (row 152)`, async () => {
      let asked = 0;
      await using broker = await startBroker(async (request) => {
        asked++;
        return answering(request);
      });
      await using client = await connectRaw(broker.socket);
      const answer = await client.ask(request);
      assert.deepEqual(
        [answer !== null && typeof answer === 'object' && 'error' in answer, asked],
        [true, 0],
      );
      await client.closed;
    });

  it('serves one verb at a time, and first who had fewest (row 153)', async () => {
    let running = 0;
    let most = 0;
    const order: (number | undefined)[] = [];
    await using broker = await startBroker(
      async (request) => {
        most = Math.max(most, ++running);
        if (request.verb === 'readPCRs') order.push(request.selection.sha256?.[0]);
        await sleep(10);
        running--;
        return answering(request);
      },
      { perSecond: 1e6, burst: 1e6 },
    );
    // Fifteen that ask as fast as they are answered, for as long as this lasts.
    const stop = new AbortController();
    const floods = Array.from({ length: 15 }, async () => {
      await using client = await connectRaw(broker.socket);
      while (!stop.signal.aborted) await client.ask(readPCRs);
    });
    while (order.length < 30) await sleep(10);
    const tpm = openBrokerTpm(broker.socket);
    for (let i = 0; i < 10; i++) await tpm.readPcrs({ sha256: [5] });
    stop.abort();
    await Promise.all(floods);
    assert.equal(most, 1);
    // Behind all fifteen each time, there would be 135 between the first and the last of the ten.
    const between = order.lastIndexOf(5) - order.indexOf(5) - 9;
    assert(between < 60, `${between} others came between`);
  });

  it('has a verb of the agent wait for one other at most, however many ask by the other socket (row 358)', async () => {
    const order: (number | undefined)[] = [];
    await using broker = await startBroker(
      async (request) => {
        if (request.verb === 'readPCRs') order.push(request.selection.sha256?.[0]);
        await sleep(5);
        return answering(request);
      },
      { perSecond: 1e6, burst: 1e6 },
    );
    // Forty that take each place there is, and come again where there is none.
    const stop = new AbortController();
    const floods = Array.from({ length: 40 }, async () => {
      while (!stop.signal.aborted) {
        await using client = await connectRaw(broker.socket);
        while (!stop.signal.aborted && (await client.ask(readPCRs)) !== null);
      }
    });
    while (order.length < 30) await sleep(10);
    const tpm = openBrokerTpm(broker.own);
    const waited: number[] = [];
    for (let i = 0; i < 20; i++) {
      const before = order.length;
      await tpm.readPcrs({ sha256: [5] });
      waited.push(order.indexOf(5, before) - before);
    }
    stop.abort();
    await Promise.all(floods);
    // On a busy machine a verb reaches the broker late; behind all, it would wait for fifteen each time.
    const usual = waited.toSorted((a, b) => a - b)[waited.length / 2] ?? Number.POSITIVE_INFINITY;
    assert.ok(usual <= 1 && Math.max(...waited) <= 5, `${waited.join()} others came between`);
    // And the agent takes no more than every second turn from them.
    assert.ok(order.lastIndexOf(5) - order.indexOf(5) >= 2 * 19);
  });

  it('makes one that asks too often wait, and refuses it nothing (row 153)', async () => {
    await using broker = await startBroker(answering, { perSecond: 50, burst: 5 });
    await using client = await connectRaw(broker.socket);
    const began = performance.now();
    for (let i = 0; i < 15; i++) assert.deepEqual(Object.keys(Object(await client.ask(readPCRs))), ['pcrs']);
    assert(performance.now() - began >= 180);
    assert.deepEqual(broker.events, []);
  });

  it('gives the place of one that asks nothing to one that asks (row 153)', async () => {
    await using broker = await startBroker(answering, { places: 4 });
    const idle = [];
    for (let i = 0; i < 4; i++) idle.push(await connectRaw(broker.socket));
    // The first has asked before: those that never did go first.
    await idle[0]?.ask(readPCRs);
    assert.deepEqual(await openBrokerTpm(broker.socket).readPcrs(selection), pcrs);
    await idle[1]?.closed;
    assert.equal(idle[0]?.socket.destroyed, false);
    for (const client of idle) await client[Symbol.asyncDispose]();
  });

  it('has a client ask again where all places ask, until there is one (row 153)', async () => {
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    await using broker = await startBroker(
      async (request) => {
        await gate;
        return answering(request);
      },
      { places: 2 },
    );
    await using first = await connectRaw(broker.socket);
    await using second = await connectRaw(broker.socket);
    const answers = [first.ask(readPCRs), second.ask(readPCRs)];
    await sleep(50);
    const third = openBrokerTpm(broker.socket).readPcrs(selection);
    while (broker.events.length === 0) await sleep(10);
    go();
    assert.deepEqual(await third, pcrs);
    assert.equal((await Promise.all(answers)).includes(null), false);
  });

  it('lets a verb go whose client went away', async () => {
    const served: number[] = [];
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    await using broker = await startBroker(async (request) => {
      await gate;
      served.push(request.verb === 'readPCRs' ? (request.selection.sha256?.[0] ?? -1) : -1);
      return answering(request);
    });
    await using first = await connectRaw(broker.socket);
    const answer = first.ask(readPCRs);
    await using gone = await connectRaw(broker.socket);
    void gone.ask({ verb: 'readPCRs', selection: { sha256: [5] } });
    await sleep(50);
    gone.socket.destroy();
    await gone.closed;
    await sleep(20);
    go();
    await answer;
    await first.ask(readPCRs);
    assert.deepEqual(served, [0, 0]);
  });

  it('tells of a failure what the TPM itself would tell', async () => {
    const fault = new ToolError('no TPM answers at /dev/tpmrm0: switch it on', {
      code: 'no_tpm',
      tool: 'tcti',
    });
    await using broker = await startBroker(() => Promise.reject(fault));
    await assert.rejects(openBrokerTpm(broker.socket).readPcrs(selection), {
      name: 'ToolError',
      code: 'no_tpm',
      tool: 'tcti',
      retryable: false,
      message: fault.message,
    });
  });

  it('tells nothing of a fault of its own', async () => {
    await using broker = await startBroker(() => Promise.reject(new Error('/secret/path')));
    await assert.rejects(openBrokerTpm(broker.socket).readPcrs(selection), (error) => {
      assert(error instanceof ToolError);
      assert.equal(error.code, 'failed');
      assert(!error.message.includes('/secret/path'));
      return true;
    });
  });

  it('answers the verb under way when it is told to end', async () => {
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    const broker = await startBroker(async (request) => {
      await gate;
      return answering(request);
    });
    await using client = await connectRaw(broker.socket);
    const answer = client.ask(readPCRs);
    await sleep(50);
    const ended = broker[Symbol.asyncDispose]();
    await sleep(20);
    go();
    assert.deepEqual(Object.keys(Object(await answer)), ['pcrs']);
    await ended;
  });
});

describe('the client of the TPM broker', () => {
  for (const [what, answer] of [
    ['no frame', Buffer.from('HTTP/1.1 200 OK\r\n')],
    ['no JSON', encodeFrame('json', Buffer.from('{'))],
    ['another answer', encodeFrame('json', Buffer.from('{"pcrs":{"sha256":"%"}}'))],
    ['a secret that nobody asked for', encodeFrame('secret', Buffer.alloc(32, 1))],
  ] as const)
    it(`takes ${what} for a broker that does not work`, async () => {
      await using server = await startBroker(answering);
      const { createServer } = await import('node:net');
      const path = `${server.socket}.2`;
      const other = createServer((socket) => socket.on('error', () => {}).end(answer)).listen(path);
      try {
        await assert.rejects(openBrokerTpm(path).readPcrs(selection), {
          code: 'tpm_broker',
          retryable: true,
        });
      } finally {
        other.close();
      }
    });

  it('says which unit to look at where nobody answers', async () => {
    const error = {
      name: 'AgentError',
      code: 'tpm_broker',
      retryable: true,
      message: /systemctl status assay-tpm-broker/,
    };
    await assert.rejects(openBrokerTpm('/nowhere/tpm.sock').readPcrs(selection), error);
  });

  it('waits for its time and no longer', async () => {
    await using broker = await startBroker(() => sleep(400).then(() => ({ pcrs: {} })));
    await assert.rejects(openBrokerTpm(broker.socket, { timeoutMs: 100 }).readPcrs(selection), {
      code: 'tpm_broker',
    });
    const stop = new AbortController();
    const asked = openBrokerTpm(broker.socket, { signal: stop.signal }).readPcrs(selection);
    stop.abort();
    await assert.rejects(asked, { code: 'aborted' });
  });
});
