import { Budget, type Compiled, celEnvironment, compile, firstLine, schemaEnvironment } from './cel.ts';
import { isEqual, isList, isObject, type Json, type JsonObject, listAt, textAt } from './json.ts';
import { type Cause, invalidValue } from './status.ts';
import { fellowOf } from './structural-schema.ts';

/** `x-kubernetes-validations` of a schema that do not compile, or do not give what they should. */
export function checkRulesCompile(schema: Json | undefined, path: string): readonly Cause[] {
  if (!isObject(schema)) return [];
  const rules = rulesOf(schema);
  const causes: Cause[] = [];
  if (rules.length > 0) {
    const typed = schemaEnvironment(schema);
    for (const [index, rule] of rules.entries()) {
      for (const [member, wanted] of [
        ['rule', 'bool'],
        ['messageExpression', 'string'],
      ] as const) {
        const text = textAt(rule, member) ?? '';
        const compiled = member === 'messageExpression' && text === '' ? null : compile(typed, text, wanted);
        if (compiled === null || !('fault' in compiled)) continue;
        const field = `${path}.x-kubernetes-validations[${index}].${member}`;
        causes.push(invalidValue(field, text, `compilation failed: ${compiled.fault}`));
      }
    }
  }
  for (const [name, member] of Object.entries(isObject(schema.properties) ? schema.properties : {})) {
    causes.push(...checkRulesCompile(member, `${path}.properties[${name}]`));
  }
  causes.push(...checkRulesCompile(schema.items, `${path}.items`));
  causes.push(...checkRulesCompile(schema.additionalProperties, `${path}.additionalProperties`));
  return causes;
}

/** Whether a schema has rules anywhere. */
export function hasRules(schema: Json | undefined): boolean {
  if (!isObject(schema)) return false;
  const members = isObject(schema.properties) ? Object.values(schema.properties) : [];
  return rulesOf(schema).length > 0 || [...members, schema.items, schema.additionalProperties].some(hasRules);
}

/** What the rules of a schema say of a value. `old` is undefined at creation, and where nothing of before fits. */
export function checkRules(
  value: Json,
  old: Json | undefined,
  schema: Json | undefined,
  path: string,
): readonly Cause[] {
  if (!isObject(schema) || value === null) return [];
  const causes: Cause[] = rulesOf(schema).flatMap((rule) => checkRule(value, old, rule, path, schema));
  if (isList(value)) {
    for (const [index, item] of value.entries()) {
      causes.push(...checkRules(item, fellowOf(item, old, schema), schema.items, `${path}[${index}]`));
    }
    return causes;
  }
  if (!isObject(value)) return causes;
  const properties = isObject(schema.properties) ? schema.properties : {};
  for (const [name, member] of Object.entries(value)) {
    const its = Object.hasOwn(properties, name) ? properties[name] : schema.additionalProperties;
    const before = isObject(old) ? old[name] : undefined;
    causes.push(...checkRules(member, before, its, path === '' ? name : `${path}.${name}`));
  }
  return causes;
}

const environment = celEnvironment(['self', 'oldSelf']);
const compiledRules = new Map<string, Compiled>();

function compiledRule(text: string, wanted: 'bool' | 'string'): Compiled {
  const key = `${wanted} ${text}`;
  const known = compiledRules.get(key) ?? compile(environment, text, wanted);
  compiledRules.set(key, known);
  return known;
}

function checkRule(
  value: Json,
  old: Json | undefined,
  rule: Json,
  path: string,
  schema: JsonObject,
): readonly Cause[] {
  const text = textAt(rule, 'rule') ?? '';
  // A rule about what was before is asked only where there was something.
  if (/\boldSelf\b/.test(text) && old === undefined) return [];
  // What was so already and is not touched stays allowed.
  if (!/\boldSelf\b/.test(text) && old !== undefined && isEqual(old, value)) return [];
  const compiled = compiledRule(text, 'bool');
  const shown = isObject(value) || isList(value) ? (textAt(schema, 'type') ?? 'object') : value;
  if ('fault' in compiled) return [invalidValue(path, shown, compiled.fault)];
  const budget = new Budget();
  const variables = { self: budget.counted(value), oldSelf: budget.counted(old ?? null) };
  try {
    if (compiled.program.evaluate(variables) === true) return [];
  } catch (error) {
    const why = firstLine(error instanceof Error ? error.message : String(error));
    return [invalidValue(path, shown, `rule: ${text}: ${why}`)];
  }
  const message = messageOf(rule, variables) ?? textAt(rule, 'message') ?? `failed rule: ${text}`;
  const field = `${path}${textAt(rule, 'fieldPath') ?? ''}`.replace(/^\./, '');
  if (textAt(rule, 'reason') === 'FieldValueForbidden') {
    return [{ type: 'FieldValueForbidden', field, message: `Forbidden: ${message}` }];
  }
  return [invalidValue(field, shown, message)];
}

function messageOf(rule: Json, variables: Readonly<Record<string, unknown>>): string | null {
  const expression = textAt(rule, 'messageExpression');
  if (expression === undefined) return null;
  const compiled = compiledRule(expression, 'string');
  if ('fault' in compiled) return null;
  try {
    const message = compiled.program.evaluate(variables);
    return typeof message === 'string' && message.trim() !== '' ? message : null;
  } catch {
    // So does the real one: the plain message stands in.
    return null;
  }
}

function rulesOf(schema: JsonObject): readonly Json[] {
  return listAt(schema, 'x-kubernetes-validations');
}
