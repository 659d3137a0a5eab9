/** Whose TPM a machine has: SHA-256 of its endorsement key's TPMT_PUBLIC, hex; or why the cloud does not know it. */
export type Lookup = { readonly ek: string } | { readonly notKnown: string };

/** Nobody can say at present, and the text says why. It holds nothing secret. */
export class CloudFault extends Error {
  override name = 'CloudFault';
  /** It may be otherwise a moment later. */
  readonly passes: boolean;
  /** Milliseconds for which the cloud asks to be left alone; null where it says nothing. */
  readonly waitFor: number | null;

  constructor(text: string, options: { passes?: boolean; waitFor?: number | null; cause?: unknown } = {}) {
    super(text, options.cause === undefined ? undefined : { cause: options.cause });
    this.passes = options.passes ?? false;
    this.waitFor = options.waitFor ?? null;
  }
}
