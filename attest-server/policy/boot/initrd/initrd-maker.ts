/** The files, links and devices of one program that makes initrds; paths of made files, links and devices begin without a slash. */
export interface InitrdMaker {
  /** Which programs do so, with their versions. */
  readonly source: string;
  /** When they were looked at, YYYY-MM-DD. */
  readonly seen: string;
  /**
   * Where a file of a package is put: its path there, and in the initrd, each with a slash and below /usr. What the group `name` of
   * the first found must be found by that of the second. Attack: a known program in place of another one.
   */
  readonly moves?: readonly (readonly [from: RegExp, to: RegExp])[];
  /** Links that are written whatever the packages: path and target. */
  readonly links?: readonly (readonly [at: RegExp, target: RegExp])[];
  /** Links that have a unit wanted, which is the one of the same name. */
  readonly units?: readonly RegExp[];
  readonly made?: readonly MadeRule[];
  /** Files that no rule can judge, and their kind: somebody vouches for one, for all that have the same. */
  readonly texts?: readonly (readonly [at: RegExp, what: string])[];
  /** The same of what is not shown, and counts as it is. */
  readonly unread?: readonly (readonly [at: RegExp, what: string])[];
  /** Names that `mktemp` finds, and dates: others each time; and the places that have such a name. */
  readonly temporary?: readonly (readonly [found: RegExp, name: string])[];
  readonly places?: RegExp;
  /** Below dev: `NAME MAJOR:MINOR`. */
  readonly devices?: readonly string[];
  /** Programs that give their rights to whoever runs them. */
  readonly setuid?: readonly string[];
}

/** A file that is made on the host, and what must hold of it. */
export type MadeRule = { readonly at: RegExp } & (
  | { readonly kind: 'empty' | 'order' | 'modules' | 'libraries' }
  /** Each line gives a literal value to a word: to one that the first of a pair knows, one that its second knows. */
  | { readonly kind: 'settings'; readonly assigns: readonly (readonly [word: RegExp, value: RegExp])[] }
  /** Each line is one of these. */
  | { readonly kind: 'settings' | 'folders' | 'text'; readonly lines: RegExp; readonly otherwise?: string }
  /** It is this text, in which HOME stands for a folder of this form that is there. */
  | { readonly kind: 'login'; readonly text: string; readonly home?: RegExp }
  /** It has at most so many bytes. */
  | { readonly kind: 'seed'; readonly most: number }
);
