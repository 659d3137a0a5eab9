import { shownText } from '../tpm/shown-text.ts';
import { signatureDataEntry } from '../tpm/signature-data.ts';
import type { SignatureEntry } from '../tpm/signature-list.ts';
import type { Authority } from './boot-state.ts';

/**
 * The authority that allowed an image to run: EFI_SIGNATURE_DATA, an owner and a certificate or digest; older shims leave out
 * the owner. PC Client PFP 1.06, section 10.4.3; UEFI 2.10, section 32.4.1.
 */
export function authorityOf(event: number, source: string, value: Buffer): Authority {
  return new MeasuredAuthority(event, shownText(source), signatureDataEntry(value));
}

/** Its entry is hashed and parsed when first asked for. */
class MeasuredAuthority implements Authority {
  readonly event: number;
  readonly source: string;
  readonly #entry: SignatureEntry;

  constructor(event: number, source: string, entry: SignatureEntry) {
    this.event = event;
    this.source = source;
    this.#entry = entry;
  }

  get kind(): SignatureEntry['kind'] {
    return this.#entry.kind;
  }

  get digest(): string {
    return this.#entry.digest;
  }

  get subject(): string | null {
    return this.#entry.subject;
  }
}
