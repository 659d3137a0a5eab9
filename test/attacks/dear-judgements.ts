import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { channelBindingBytes, channelBindingLabel } from '../../attest-server/protocol/binding.ts';
import { binaryFrame, parseServerMessage } from '../../attest-server/protocol/messages.ts';
import { madeQuote } from '../attest-server/verify/made-quote.ts';
import { type Machine, model } from '../bench/population.ts';
import { type Link, open } from '../bench/simulated-agents.ts';
import { run, Tallies } from './attack.ts';
import { enrolledKeys, logOfImages, machineOf } from './enrolled.ts';

/** What the owners of enrolled nodes do, each from an address of his own. */
const plan = z.looseObject({
  attackers: z.array(enrolledKeys),
  /** `log`: each answer is of another boot with 16,000 images; `ordinary`: it is what an honest node sends. */
  evidence: z.enum(['log', 'ordinary']),
  /** Whether each verdict is followed by another connection. */
  reconnects: z.boolean(),
});

const connections = 2;
/** As many as fit into a log. */
const images = 16_000;

await run(async (order) => {
  const { attackers, evidence, reconnects } = plan.parse(order);
  const tallies = new Tallies();
  const end = performance.now() + order.seconds * 1000;
  const shared = logOfImages(images, 'shared');
  let count = 0;
  const works = attackers.flatMap((keys, index) => {
    const machine = machineOf(keys);
    return Array.from({ length: connections }, async () => {
      const from = `127.0.11.${1 + index}`;
      while (performance.now() < end)
        await converse(machine, from)
          .catch(() => tallies.add('refused'))
          .then(() => sleep(1));
    });
  });
  await Promise.race([Promise.all(works), sleep(order.seconds * 1000 + 2_000)]);
  return tallies.all();

  async function converse(machine: Machine, from: string): Promise<void> {
    tallies.add('tried');
    const link = await open(order, 0, from);
    try {
      const ended = once(link.socket, 'close');
      const verdict = answers(machine, link);
      await Promise.race([verdict, ended, sleep(Math.max(0, end - performance.now()))]);
    } finally {
      link.socket.terminate();
    }
  }

  /** Resolves after as many verdicts as one connection is good for. */
  function answers({ name, tpm }: Machine, { socket, tls }: Link): Promise<void> {
    const channel = tls.exportKeyingMaterial(channelBindingBytes, channelBindingLabel, Buffer.alloc(0));
    const hello = JSON.stringify(tpm.hello(name));
    const { log, sha256 } = evidence === 'log' ? shared : model;
    const occasion = { node: name, hello, channel, bootLog: log };
    return new Promise((resolve) => {
      let verdicts = 0;
      socket.on('message', (data: Buffer) => {
        const message = parseServerMessage(data.toString('utf8'));
        if (message.type === 'challenge') {
          if (message.holds.length === 0) socket.send(binaryFrame('bootLog', log));
          const values = Buffer.from(sha256);
          // Another value of a PCR that nobody needs: what is remembered of the boot is of no use.
          if (evidence === 'log') values.writeUInt32BE(++count, 32 * 12);
          const quote = (signed: Buffer) => madeQuote(tpm.ak, signed, { pcrs: { sha256: values } });
          socket.send(JSON.stringify(tpm.evidence(message, occasion, { quote })));
        } else if (message.type === 'verdict') {
          tallies.add(`verdict ${message.state}`);
          if (reconnects && ++verdicts >= 4) resolve();
          else socket.send(JSON.stringify({ type: 'changed', what: 'all' }));
        } else tallies.add(message.type === 'error' ? message.code : message.type);
      });
      socket.send(hello);
    });
  }
});
