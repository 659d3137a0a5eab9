export type Bank = 'sha1' | 'sha256' | 'sha384' | 'sha512';
/** Bank -> PCR numbers, 0 to 23. */
export type PcrSelection = Partial<Record<Bank, readonly number[]>>;
/** Bank -> the selected values in ascending order of their PCR, concatenated. */
export type PcrValues = Partial<Record<Bank, Buffer>>;

export interface TpmOptions {
  /** As tpm2-tools take it: `swtpm:path=/abs/sock`, `device:/dev/tpmrm0`, … */
  readonly tcti: string;
  readonly lockDir?: string;
  readonly runtimeDir?: string;
  readonly signal?: AbortSignal;
}

export interface EndorsementKey {
  readonly publicArea: Buffer;
  readonly certificate: Buffer | null;
  readonly chain: readonly Buffer[];
  readonly handle: number | null;
  readonly kind: 'rsa' | 'ecc';
}
export interface AttestationKey {
  readonly publicArea: Buffer;
  readonly name: string;
}
export interface Credential {
  readonly credential: Buffer;
  readonly secret: Buffer;
}
export interface QuoteRequest {
  readonly qualifyingData: Buffer;
  readonly selection: PcrSelection;
}
export interface Quote {
  readonly attest: Buffer;
  readonly signature: Buffer;
  readonly pcrs: PcrValues;
}
export interface Capabilities {
  readonly manufacturer: string;
  readonly firmwareVersion: string;
  readonly banks: readonly Bank[];
  readonly hasEcc: boolean;
}
export interface Tpm {
  readEndorsementKey(): Promise<EndorsementKey>;
  createAttestationKey(): Promise<AttestationKey>;
  activateCredential(credential: Credential): Promise<Buffer>;
  quote(request: QuoteRequest): Promise<Quote>;
  readPcrs(selection: PcrSelection): Promise<PcrValues>;
  readCapabilities(): Promise<Capabilities>;
  random(bytes: number): Promise<Buffer>;
  flushTransient(): Promise<void>;
  close(): Promise<void>;
}
export async function openTpm(_options: TpmOptions): Promise<Tpm> {
  throw new Error('not written yet');
}
