import assert from 'node:assert/strict';
import type { VouchedTpm } from '../../../attest-server/verify/endorsement-paths.ts';
import type { Hello } from '../../../attest-server/wire/messages.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';

/** Of a node that the registry is told the keys of apart. */
export const hello = (node: string): Hello => ({
  type: 'hello',
  versions: { protocol: [1, 1], program: '0.1.0' },
  role: 'agent',
  node,
  banks: ['sha256'],
  ek: null,
  ak: null,
  joinToken: false,
});

export const endorsed: VouchedTpm = {
  notVouched: null,
  endorsedBy: 'e'.repeat(64),
  manufacturer: 'IFX',
  tpmClass: 'discrete',
};

/** A TPM that no root vouches for. */
export const unendorsed = (code: ReasonCode): VouchedTpm => ({
  notVouched: new Rejection(code, 'no root vouches for it'),
  endorsedBy: null,
  manufacturer: null,
  tpmClass: 'unknown',
});

export const refused = (work: Promise<unknown>, code: ReasonCode) =>
  assert.rejects(work, (error: unknown) => error instanceof Rejection && error.code === code);
