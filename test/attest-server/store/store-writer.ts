import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import { madeMachine, madePorts } from '../attest/made-machine.ts';
import { madeEvent } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

/**
 * Judges three nodes, named by argv[3], into the store at argv[2], until it is killed; two of them reboot now and then. Prints
 * `change|repeat NODE TIME` once an answer is acknowledged; the time is the one that the node is shown as verified at.
 */
const [, , path = '', round = ''] = process.argv;
const store = await openMadeStore(path);
// By its other clock a node boots once in minutes: of one that boots each second not every change has a row of its own.
const monotonic = () => performance.now() * 1_000;
const ports = madePorts(store, { policy: observePolicy, now: Date.now, monotonic, summaryEvery: 1_200 });
const attestation = await Attestation.open(ports, null);

await Promise.all(
  [30, 100, Number.POSITIVE_INFINITY].map(async (answersPerBoot, index) => {
    const machine = madeMachine(`node-${round}-${index}`);
    const { name } = machine.record;
    await store.enrolment.enrol(machine.record, madeEvent('enrol', name));
    for (let count = 0; ; count += 1) {
      const isChange = count === 0 || count % answersPerBoot === 0;
      const resetCount = 1 + Math.floor(count / answersPerBoot);
      await attestation.judge(machine.node, machine.answer(Date.now(), { resetCount }));
      const at = attestation.status(name)?.verifiedAt;
      writeSync(1, `${isChange ? 'change' : 'repeat'} ${name} ${at}\n`);
      await sleep(10);
    }
  }),
);
