import { hash } from 'node:crypto';
import type { PcrBank } from './messages.ts';

/** The PCR that ends a boot's right to disk keys. */
export const capPcr = 15;

const label = 'assay/cap/1';

/** The digest that caps a boot in this bank: the hash of one constant, so that a capped PCR 15 is still explained. */
export function capDigest(bank: PcrBank): Buffer {
  return hash(bank, label, 'buffer');
}
