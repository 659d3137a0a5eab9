import { activateCredential, type Credential } from './activate.ts';
import { createAttestationKey, type LoadedAttestationKey as KeptKey } from './attestation-key.ts';
import { type Capabilities, readCapabilities } from './capabilities.ts';
import { type LoadedEndorsementKey as KeptEndorsementKey, readEndorsementKey } from './endorsement-key.ts';
import { type Bank, extendPcr, type PcrSelection, type PcrValues, readPcrs } from './pcrs.ts';
import { type Quote, type QuoteRequest, quote } from './quote.ts';
import { ToolError } from './tool-error.ts';
import { connect, type TpmConnection, type TpmOptions } from './tpm-connection.ts';
import { type DuplicatedObject, type UnsealPolicy, unsealDuplicate } from './unseal.ts';

export type EndorsementKey = Omit<KeptEndorsementKey, 'context' | 'profile'>;
export type AttestationKey = Omit<KeptKey, 'context'>;

/**
 * Opens a TPM.
 * @throws ToolError `bad_input`, `no_tpm`, `lock_failed`
 */
export async function openTpm(options: TpmOptions): Promise<Tpm> {
  return new Tpm(await connect(options));
}

/**
 * One program's TPM. Every verb is one turn: no other verb, here or in another program that uses this package,
 * comes in between. All verbs throw ToolError. `close` it: that removes the private folder.
 */
export class Tpm implements AsyncDisposable {
  readonly #connection: TpmConnection;
  #endorsement: KeptEndorsementKey | null = null;
  #attestation: KeptKey | null = null;

  constructor(connection: TpmConnection) {
    this.#connection = connection;
  }

  /** The endorsement key with its certificate and chain from NV; read once. @throws ToolError `no_endorsement_key` */
  readEndorsementKey(): Promise<EndorsementKey> {
    return this.#connection.verb('readEndorsementKey', async () => {
      const { context: _context, profile: _profile, ...key } = await this.#endorsementKey();
      return key;
    });
  }

  /** The attestation key, the same at every call and in every program on this TPM; made once. */
  createAttestationKey(): Promise<AttestationKey> {
    return this.#connection.verb('createAttestationKey', async () => {
      const { context: _context, ...key } = await this.#attestationKey();
      return key;
    });
  }

  /** The secret of a credential that was made for this TPM's two keys. The caller wipes it. */
  activateCredential(credential: Credential): Promise<Buffer> {
    return this.#connection.verb('activateCredential', () =>
      this.#withFreshKeys(async () =>
        activateCredential(
          this.#connection,
          { endorsement: await this.#endorsementKey(), attestation: await this.#attestationKey() },
          credential,
        ),
      ),
    );
  }

  /** @throws ToolError `pcrs_moved` (retryable) if a selected PCR was extended meanwhile */
  quote(request: QuoteRequest): Promise<Quote> {
    return this.#connection.verb('quote', () =>
      this.#withFreshKeys(async () => quote(this.#connection, await this.#attestationKey(), request)),
    );
  }

  /**
   * The secret that was sealed to this TPM's endorsement key. The caller wipes it.
   * @throws ToolError `pcrs_moved` (retryable) if any PCR was extended meanwhile; `failed` where the TPM refuses
   */
  unsealDuplicate(object: DuplicatedObject, policy: UnsealPolicy): Promise<Buffer> {
    return this.#connection.verb('unsealDuplicate', () =>
      this.#withFreshKeys(async () =>
        unsealDuplicate(this.#connection, await this.#endorsementKey(), object, policy),
      ),
    );
  }

  readPcrs(selection: PcrSelection): Promise<PcrValues> {
    return this.#connection.verb('readPcrs', () => readPcrs(this.#connection, selection));
  }

  /** Extends one PCR, in all the banks given, in one call. */
  extend(pcr: number, digests: { readonly [bank in Bank]?: Buffer | undefined }): Promise<void> {
    return this.#connection.verb('extend', () => extendPcr(this.#connection, pcr, digests));
  }

  readCapabilities(): Promise<Capabilities> {
    return this.#connection.verb('readCapabilities', () => readCapabilities(this.#connection));
  }

  /** Random bytes from the TPM, 1 to 32 of them. */
  random(bytes: number): Promise<Buffer> {
    return this.#connection.verb('random', async () => {
      if (!Number.isInteger(bytes) || bytes < 1 || bytes > 32)
        throw new ToolError('random gives 1 to 32 bytes a call', {
          code: 'bad_input',
          tool: 'tpm2_getrandom',
        });
      return (await this.#connection.tool('tpm2_getrandom', [String(bytes)])).stdout;
    });
  }

  /** Frees the transient objects of a TPM without resource manager, those of other programs too. */
  flushTransient(): Promise<void> {
    return this.#connection.verb('flushTransient', () => this.#connection.flushTransient());
  }

  /** Waits for what is under way, then removes the private folder. */
  close(): Promise<void> {
    return this.#connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #endorsementKey(): Promise<KeptEndorsementKey> {
    this.#endorsement ??= await readEndorsementKey(this.#connection);
    return this.#endorsement;
  }

  async #attestationKey(): Promise<KeptKey> {
    this.#attestation ??= await createAttestationKey(this.#connection);
    return this.#attestation;
  }

  /** A TPM reset or Clear makes saved contexts and handles stale: make the keys again, then once more. */
  async #withFreshKeys<T>(work: () => Promise<T>): Promise<T> {
    const hadKeys = this.#attestation !== null || this.#endorsement !== null;
    try {
      return await work();
    } catch (error) {
      if (!hadKeys || !(error instanceof ToolError) || !isStale(error)) throw error;
      this.#attestation = null;
      this.#endorsement = null;
      await this.#connection.flushTransient();
      return work();
    }
  }
}

/** A saved context from before the reset, or a persistent handle from before TPM2_Clear. */
function isStale({ command, responseName }: ToolError): boolean {
  return command === 'ContextLoad' || responseName === 'TPM_RC_HANDLE';
}
