/** One thing that is wrong with a configuration. It never repeats a value: somebody may have put a secret there. */
export interface ConfigFault {
  /** As in the file, for example `approvals.separate`; null for the file as a whole. */
  readonly key: string | null;
  /** Where else the key may be set: its variable, and its flag if there is one. */
  readonly also: readonly string[];
  /** The file and the line in it, from 1; null if the value is from elsewhere, or the file was not read. */
  readonly file: string | null;
  readonly line: number | null;
  readonly text: string;
}

/** Every fault of a program's configuration at once. The programs write its message and exit with 2. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly faults: readonly ConfigFault[];

  constructor(faults: readonly ConfigFault[], options?: ErrorOptions) {
    const count = faults.length === 1 ? 'a fault' : `${faults.length} faults`;
    super(`the configuration has ${count}:${faults.map((fault) => `\n  ${line(fault)}`).join('')}`, options);
    this.faults = faults;
  }
}

/** `server.yaml:3: agentPort (ASSAY_AGENT_PORT): not a port`. */
function line({ key, also, file, line, text }: ConfigFault): string {
  const place = file === null ? [] : [line === null ? file : `${file}:${line}`];
  const name = key === null ? [] : [also.length === 0 ? key : `${key} (${also.join(', ')})`];
  return [...place, ...name, text].join(': ');
}
