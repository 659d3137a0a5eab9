import {
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textAt,
} from '../../swtpm-fixtures/api-server/json.ts';
import { baseObjects } from '../manifests/renderings.ts';

interface Expression {
  /** `POLICY.validations[0]`. */
  readonly where: string;
  readonly text: string;
  /** Whether a request depends on whether it is true. */
  readonly decides: boolean;
}

/** Every expression of admission policies and resource definitions in the base. */
export function expressionsOf(): readonly Expression[] {
  return baseObjects().flatMap((object) => {
    const name = textAt(object, 'metadata', 'name') ?? '';
    switch (textAt(object, 'kind')) {
      case 'ValidatingAdmissionPolicy':
        return ofPolicy(object, name);
      case 'CustomResourceDefinition':
        return ofSchema(object, name);
      default:
        return [];
    }
  });
}

function ofPolicy(policy: JsonObject, name: string): readonly Expression[] {
  return ['matchConditions', 'variables', 'validations'].flatMap((part) =>
    listAt(policy, 'spec', part).flatMap((one, index) => {
      const where = `${name}.${part}[${index}]`;
      const [text = '', message] = [textAt(one, 'expression'), textAt(one, 'messageExpression')];
      const own = { where, text, decides: part !== 'variables' };
      return message === undefined
        ? [own]
        : [own, { where: `${where}.messageExpression`, text: message, decides: false }];
    }),
  );
}

function ofSchema(value: Json, where: string): readonly Expression[] {
  if (Array.isArray(value)) return value.flatMap((item: Json, index) => ofSchema(item, `${where}[${index}]`));
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([key, member]) => {
    if (key !== 'x-kubernetes-validations' || !Array.isArray(member))
      return ofSchema(member, `${where}.${key}`);
    return member.flatMap((rule: Json, index) => {
      const at = `${where}.${key}[${index}]`;
      const message = textAt(rule, 'messageExpression');
      const own = { where: at, text: textAt(rule, 'rule') ?? '', decides: true };
      return message === undefined
        ? [own]
        : [own, { where: `${at}.messageExpression`, text: message, decides: false }];
    });
  });
}
