import { plainName } from '../../formats/reference.ts';
import { CliError, exit } from '../exit.ts';

/** @throws CliError (usage) if no reference can be named so, or be for such a group */
export function checkNames(options: { readonly name: string; readonly group: string }): void {
  for (const option of ['name', 'group'] as const) {
    const given = options[option];
    const fault = plainName.safeParse(given).error?.issues[0]?.message;
    if (fault !== undefined)
      throw new CliError(`--${option} ${given} is no name`, `It ${fault}.`, exit.usage);
  }
}
