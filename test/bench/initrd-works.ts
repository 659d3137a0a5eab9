import { fail } from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Attestation } from '../../attest-server/attest/attestation.ts';
import { keptContext } from '../../attest-server/evidence/pack.ts';
import { inSteps } from '../../attest-server/formats/in-steps.ts';
import { keepsContent } from '../../attest-server/formats/initrd-kinds.ts';
import type { InitrdManifest } from '../../attest-server/formats/initrd-manifest.ts';
import { InForce } from '../../attest-server/in-force/in-force.ts';
import { InitrdJudge } from '../../attest-server/policy/boot/initrd/judge-contents.ts';
import { defaultBootRules } from '../../attest-server/policy/boot/rules.ts';
import { InitrdReader, stepBytes } from '../../attest-server/verify/initrd/initrd-reader.ts';
import { packManifest, parsePackedManifest } from '../../attest-server/verify/initrd/packed-manifest.ts';
import { limits } from '../../attest-server/wire/limits.ts';
import { withInitrds } from '../../swtpm-fixtures/initrd.ts';
import { madeMachine, madePorts } from '../attest-server/attest/made-machine.ts';
import { policyOf, replayedValues } from '../attest-server/policy/made-proof.ts';
import { madeEvent } from '../attest-server/store/made-records.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import { asRead, recordedPackages } from '../swtpm-fixtures/recorded-initrd.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';

/** Makes ready what is measured; that gives the number of entries. */
type Work = (path: string) => Promise<() => Promise<number>>;

/** What the server does with the image of a node. */
export const works: Readonly<Record<string, Work>> = {
  /** In steps between which others come, as the server reads what a node sends. */
  read: async (path) => async () => (await manifestOf(path)).entries.length,
  /** What is kept of it, packed and read back. */
  async keep(path) {
    const manifest = await manifestOf(path);
    return async () => (await inSteps(parsePackedManifest(await packManifest(manifest)))).entries.length;
  },
  /** By lists of packages. */
  async judge(path) {
    const manifest = await manifestOf(path);
    return async () => {
      const judge = new InitrdJudge([recordedPackages()], 'workers', defaultBootRules);
      await inSteps(judge.ahead([asRead(manifest)], 0));
      return manifest.entries.length;
    };
  },
  /** From the first answer of a node to the verdict on all of it, with a store on memory. */
  answers,
};

async function manifestOf(path: string): Promise<InitrdManifest> {
  const reader = new InitrdReader({ keepsContent });
  for await (const piece of createReadStream(path, { highWaterMark: stepBytes })) await reader.push(piece);
  const manifest = await reader.end();
  if (manifest.faults.length > 0) throw new Error(`the image has a fault: ${manifest.faults[0]?.text}`);
  return manifest;
}

async function answers(path: string): Promise<() => Promise<number>> {
  const image = await readFile(path);
  const bootLog = withInitrds(recordedLog('fedora41-locality-3'), [image]);
  const pcrs = { sha256: replayedValues(bootLog, 'sha256') };
  const policy = policyOf('require: [boot]', 'boot: {scope: {initrd: contents}}');
  const world = async () => {
    const store = await openMadeStore(':memory:');
    const machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    const inForce = new InForce(policy, [recordedPackages()], keptContext);
    const clock = { now: 0 };
    const ports = madePorts(store, { inForce: () => inForce, now: () => clock.now });
    return { attestation: await Attestation.open(ports, null), machine, clock };
  };
  // Each sees the image for the first time.
  const worlds = [await world(), await world()];
  return async () => {
    const { attestation, machine, clock } = worlds.pop() ?? fail('no world is left');
    for (;;) {
      clock.now += 1000;
      const asked = attestation.supplements.ask('node-1', Buffer.alloc(0)).initrds ?? null;
      const answer = machine.answer(clock.now, { occasion: { bootLog }, pcrs });
      const came = asked && { from: asked.from, ...piecesFrom(image, asked.from) };
      const supplements = { initrds: { asked, came } };
      const judged = await attestation.judge(machine.node, { ...answer, supplements });
      if ('state' in judged && !judged.more) break;
    }
    await attestation.idle();
    return 1;
  };
}

function piecesFrom(image: Buffer, from: number) {
  const { piece, inAnswer } = limits.initrd;
  const end = Math.min(image.length, from + inAnswer);
  const pieces: Buffer[] = [];
  for (let at = from; at < end; at += piece) pieces.push(image.subarray(at, Math.min(end, at + piece)));
  return { more: end < image.length, pieces };
}
