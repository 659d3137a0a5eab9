/** `settled`: one authority; `announced`: the next one waits; `in_force`: it signs, and the old one is still announced. */
export const rotationStages = ['settled', 'announced', 'in_force'] as const;
export type RotationStage = (typeof rotationStages)[number];

/** The authorities of an installation at one moment, PEM. */
export interface Authorities {
  readonly stage: RotationStage;
  readonly inForce: string;
  /** The one that follows, or the one that went before. */
  readonly other: string | null;
  /** The word of the one in force for the one that follows, base64; null if none does. */
  readonly signature: string | null;
}

/** The keys of the authorities, which several servers may share. They sign, and never leave where they are. */
export interface AuthorityKeys {
  /** The certificates, the one in force first: what agents and callers of the API are given as a file. */
  readonly caFile: string;
  /** Makes the first one if there is none. @throws Error if keys and certificates do not belong together */
  read(): Promise<Authorities>;
  /** Another text where the authorities are others: no key is read for it. */
  look(): Promise<string>;
  /**
   * Makes a key and its certificate, in this private folder as `key` and `certificate`.
   * @param authority PEM of the one that is to sign: it must be in force
   * @throws ToolError
   */
  issue(folder: string, order: CertificateOrder): Promise<void>;
  /** Makes the authority that will follow. False if the stage is another one, as for each of these. */
  prepareNext(): Promise<boolean>;
  /** Replaces the authority in force by the next one, and removes the old key. */
  putNextInForce(): Promise<boolean>;
  /** Forgets the authority that went before. */
  dropPrevious(): Promise<boolean>;
}

export interface CertificateOrder {
  readonly authority: string;
  /** Host names and addresses. */
  readonly names: readonly string[];
  /** Milliseconds since the epoch. */
  readonly from: number;
  readonly until: number;
}
