import { join } from 'node:path';
import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { knownFile } from '../../attest-server/verify/boot/loader-files.ts';
import { hashPart } from '../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../attest-server/verify/measured-boot.ts';
import { filesOf } from '../../swtpm-fixtures/loader-files.ts';
import { type ForgedTpm, forgedTpm } from '../attest-server/forged-tpm.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import { softwareKey } from '../attest-server/verify/software-key.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';

/** One machine that is enrolled: a TPM made of software keys. */
export interface Machine {
  readonly name: string;
  readonly tpm: ForgedTpm;
}

const log = recordedLog('debian13-shim-grub');
/** All machines are of one model: the firmware log that they send, and the PCRs that it replays to. */
export const model = { log, sha256: replayedValues(log, 'sha256') };

/** Writes machines and the reference of their model into a fresh store, as if each had enrolled. */
export async function populate(
  stateDir: string,
  count: number,
  kind: 'p256' | 'rsa2048',
  nameOf = (index: number) => `node-${index}`,
): Promise<readonly Machine[]> {
  const store = await openMadeStore(join(stateDir, 'assay.db'));
  const machines: Machine[] = [];
  const event = {
    at: Date.now(),
    actor: 'bench',
    action: 'enrol',
    subject: '',
    code: null,
    detail: {},
  } as const;
  for (let index = 0; index < count; index++) {
    const tpm = forgedTpm(softwareKey(kind));
    const name = nameOf(index);
    await store.enrolment.enrol(
      {
        name,
        ekDigest: tpm.ekDigest,
        keyDigest: tpm.keyDigest,
        bound: 'pin',
        ekPublicArea: tpm.ek.publicArea,
        ekCertificate: null,
        akPublicArea: tpm.ak.publicArea,
        manufacturer: null,
        tpmClass: 'unknown',
        endorsedBy: null,
        banks: tpm.hello(name).banks,
        akName: tpm.hello(name).ak?.name ?? '',
        enrolledAt: event.at,
        enrolledBy: null,
      },
      { ...event, subject: name },
    );
    machines.push({ name, tpm });
  }
  const bank = { bank: 'sha256', mask: 0xffffff, values: model.sha256 } as const;
  // Whoever captured it has seen what GRUB read, so that it counts for each of them.
  const files = [...filesOf(model.log).values()].map((file) => knownFile(file));
  const boot = replayBoot(hashPart(model.log), [bank], null, { digest: null, files });
  const reference = captureReference(
    { banks: [bank], boot },
    { name: 'model', group: 'default', state: 'active', by: 'bench', node: nameOf(0), at: event.at },
  );
  await store.references.add(reference, { ...event, action: 'reference.capture', subject: 'model' });
  await store[Symbol.asyncDispose]();
  return machines;
}
