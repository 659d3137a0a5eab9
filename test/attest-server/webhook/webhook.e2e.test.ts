import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { statusView } from '../../../attest-server/api/server-api.ts';
import { checkpointConfig } from '../../../attest-server/formats/marks.ts';
import { parseCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { isObject } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator, serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce } from '../attacker.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { namespaceOfServer } from '../kubernetes/namespace-of-server.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';
import { Receiver } from './receiver.ts';
import { ToldStore } from './told-store.ts';

const bootLog = recordedLog('debian13-sdboot-uki');

describe('a server in a cluster that has a webhook', () => {
  let api: ApiServer;
  let receiver: Receiver;
  let files: ToldStore;
  let world: TestServer;

  beforeEach(async () => {
    api = await openApiServer({ rbac: false });
    await api.as(administrator).request('POST', '/api/v1/namespaces', namespaceOfServer);
    receiver = await Receiver.open();
    files = new ToldStore();
    world = await startTestServer({
      kubeconfig: await api.kubeconfig(serviceAccount('assay', 'assay-server')),
      agentTokens: 'never',
      webhook: { url: `http://127.0.0.1:${receiver.port}/`, secretFile: files.secretFile },
    });
  });
  afterEach(async () => {
    await world?.[Symbol.asyncDispose]();
    await files?.[Symbol.asyncDispose]();
    await receiver?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
  });

  it('tells what it decided and keeps its checkpoint, while a receiver that hangs delays no verdict', async () => {
    receiver.answers('hang');
    const began = performance.now();
    assert.deepEqual([await firstAnswer('node-1'), await firstAnswer('node-2')], ['pending', 'pending']);
    assert(performance.now() - began < 5_000);
    await receiver.until(1);
    assert.equal(receiver.received.length, 1);
    assert.equal(await world.metric('assay_webhook_queue_length'), 2);
    const status = statusView.parse(await world.call('GET', '/v1/status'));
    assert.equal(status.webhook?.waiting, 2);

    receiver.answers(204);
    await world.restart();
    await receiver.until(3);
    assert.deepEqual(
      receiver.received.map(({ message: { event, node, state, from } }) => [event, node, state, from].join()),
      ['node.state,node-1,pending,', 'node.state,node-1,pending,', 'node.state,node-2,pending,'],
    );
    assert.equal(receiver.ids[0], receiver.ids[1]);

    const note = await world.until(async () => {
      const { body } = await asked(`/api/v1/namespaces/assay/configmaps/${checkpointConfig}`);
      return textAt(body, 'data', 'checkpoint');
    });
    const { size } = parseCheckpoint(note);
    const entries = await world.audit();
    assert(size > 0 && size <= entries.length);
    assert.equal(entries[size - 1]?.hash, parseCheckpoint(note).head);
    assert.equal(await world.metric('assay_refusals_total{code="audit_rollback"}'), 0);
  });

  const asked = (path: string) => api.as(administrator).request('GET', path);

  /** The state that the first answer of a new node gets. */
  async function firstAnswer(node: string): Promise<string> {
    const tpm = forgedTpm();
    await world.pin(node, tpm.ekDigest);
    const peer = await introduce(world, tpm, node);
    const challenge = await peer.challenge();
    peer.send(binaryFrame('part', bootLog));
    const { hello, channel } = peer;
    const pcrs = { sha256: replayedValues(bootLog, 'sha256') };
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs });
    peer.send(tpm.evidence(challenge, { node, hello, channel, bootLog }, { quote }));
    const { state } = await peer.verdict();
    await peer.close();
    return state;
  }
});

function textAt(value: unknown, ...path: readonly string[]): string | null {
  let at = value;
  for (const key of path) at = isObject(at) ? at[key] : undefined;
  return typeof at === 'string' ? at : null;
}
