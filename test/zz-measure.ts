import { hash } from 'node:crypto';
import { cpSync, existsSync, writeFileSync } from 'node:fs';
import { binaryFrame } from '../attest-server/protocol/messages.ts';
import { introduce } from './attest-server/attacker.ts';
import { startTestServer } from './attest-server/running-server.ts';
import { madeQuote } from './attest-server/verify/made-quote.ts';
import { type Machine, model, populate } from './bench/population.ts';

const count = Number(process.argv[2]);
const good = `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: default, nodes: ["*"], mode: enforce, require: [identity, boot]}\n`;
const file = '/tmp/p11/policy.yaml';
writeFileSync(file, good);
let machines: readonly Machine[] = [];
const saved = '/tmp/p11/state.db';
const has = existsSync(saved);
const world = await startTestServer({
  policy: file,
  prepare: async (dir) => {
    if (has) cpSync(saved, `${dir}/assay.db`);
    else machines = await populate(dir, count, 'p256', (i) => `node-${String(i).padStart(5, '0')}`);
  },
});
const t0 = performance.now();
const states: Record<string, number> = {};
const one = async ({ name, tpm }: Machine) => {
  const peer = await introduce(world, tpm, name);
  const challenge = await peer.challenge();
  if (!challenge.holds.includes(hash('sha256', model.log, 'hex')))
    peer.send(binaryFrame('bootLog', model.log));
  peer.send(
    tpm.evidence(
      challenge,
      { node: name, hello: peer.hello, channel: peer.channel, bootLog: model.log },
      { quote: (data: Buffer) => madeQuote(tpm.ak, data, { pcrs: { sha256: model.sha256 } }) },
    ),
  );
  const { state } = await peer.verdict();
  states[state] = (states[state] ?? 0) + 1;
  await peer.close();
};
for (let i = 0; i < machines.length; i += 8) await Promise.all(machines.slice(i, i + 8).map(one));
console.log('answered', states, (performance.now() - t0) / 1000);
if (!has) {
  await world.restart(async () => cpSync(world.stateDir + '/assay.db', saved));
}
const timed = async (what: string, work: () => Promise<unknown>) => {
  const [t, c] = [performance.now(), process.cpuUsage()];
  let lag = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const n = performance.now();
    lag = Math.max(lag, n - last - 5);
    last = n;
  }, 5);
  const r = await work().catch((e: Error) => e.message.slice(0, 120));
  clearInterval(timer);
  const { user, system } = process.cpuUsage(c);
  console.log(
    what,
    String(r).slice(0, 200),
    'ms',
    Math.round(performance.now() - t),
    'cpu',
    Math.round((user + system) / 1000),
    'max lag',
    Math.round(lag),
  );
};
const wrong = good.replace('boot]}', `boot], boot: {dbx: {contains: ["${'ab'.repeat(32)}"]}}}`);
writeFileSync(file, wrong);
await timed('reload refused', () => world.server.reload());
writeFileSync(file, good + '# other\n');
await timed('reload taken', () => world.server.reload());
writeFileSync(file, good + '# another\n');
await timed('restart taken', () => world.restart());
await timed('restart same', () => world.restart());
writeFileSync(file, wrong);
await timed('restart refused', () => world.restart());
console.log(await world.metric('assay_policy_refused_nodes{part="policy"}'));
await world[Symbol.asyncDispose]();
process.exit(0);
