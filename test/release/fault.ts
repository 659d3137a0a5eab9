/** Why this tree cannot be released. */
export interface Fault {
  /** The thing, and what is wrong with it. */
  readonly what: string;
  /** What a person does. */
  readonly next: string;
}
