import type { Attempt } from './admission.ts';
import type { Authorizer } from './authorizer.ts';
import { Budget, type Compiled, celValue, compile, firstLine } from './cel.ts';
import { at, type Json, type JsonObject, type KubeObject, listAt, textAt, textsAt } from './json.ts';
import type { ObjectStore } from './object-store.ts';
import { AuthorizerValue, policyEnvironment } from './policy-environment.ts';
import { userInfo } from './questions.ts';
import { matchesSelector } from './selectors.ts';
import { ApiError, type Cause, forbidden, invalidValue, notSupported, required } from './status.ts';

const group = 'admissionregistration.k8s.io';

export interface PolicyParts {
  readonly store: ObjectStore;
  readonly authorizer: Authorizer;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds until a new policy, or a new binding, acts. */
  readonly settleMs: number;
}

/**
 * ValidatingAdmissionPolicies with their bindings.
 * @returns what those say that only warn
 * @throws ApiError where one of them denies a write
 */
export function admissionPolicies({
  store,
  authorizer,
  now,
  settleMs,
}: PolicyParts): (attempt: Attempt) => readonly string[] {
  const acts = ({ metadata }: KubeObject): boolean =>
    settleMs === 0 || now() - Date.parse(metadata.creationTimestamp) >= settleMs;
  return (attempt) => {
    // No policy can lock out those who would have to change it.
    if (attempt.type.group === group) return [];
    const policies = store.list(`${group}/validatingadmissionpolicies`);
    if (policies.length === 0) return [];
    const warnings: string[] = [];
    const bindings = store.list(`${group}/validatingadmissionpolicybindings`).map(([, { object }]) => object);
    for (const [name, { object: policy }] of policies) {
      if (!acts(policy) || !isMatched(at(policy, 'spec', 'matchConstraints'), attempt, store)) continue;
      const its = bindings.filter(
        (binding) =>
          textAt(binding, 'spec', 'policyName') === name &&
          acts(binding) &&
          (at(binding, 'spec', 'matchResources') === undefined ||
            isMatched(at(binding, 'spec', 'matchResources'), attempt, store)),
      );
      for (const binding of its) warnings.push(...judge(policy, binding, attempt, store, authorizer));
    }
    return warnings;
  };
}

function judge(
  policy: KubeObject,
  binding: KubeObject,
  attempt: Attempt,
  store: ObjectStore,
  authorizer: Authorizer,
): readonly string[] {
  const actions = textsAt(binding, 'spec', 'validationActions');
  const warnings: string[] = [];
  const deny = (message: string, reason: string | undefined): void => {
    const { type, name } = attempt;
    const by = `ValidatingAdmissionPolicy '${policy.metadata.name}' with binding '${binding.metadata.name}'`;
    if (actions.includes('Warn')) warnings.push(`Validation failed for ${by}: ${message}`);
    if (!actions.includes('Deny')) return;
    const told = forbidden(
      { group: type.group, resource: type.plural, name },
      `${by} denied request: ${message}`,
    );
    const details = { ...told.details, causes: [{ message }] };
    throw new ApiError(codes.get(reason ?? 'Invalid') ?? 422, reason ?? 'Invalid', told.message, details);
  };
  const failsClosed = textAt(policy, 'spec', 'failurePolicy') !== 'Ignore';
  const params = paramsOf(policy, binding, store);
  if (params === undefined) {
    if (textAt(binding, 'spec', 'paramRef', 'parameterNotFoundAction') === 'Allow') return [];
    if (failsClosed)
      deny(
        'failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction',
        undefined,
      );
    return warnings;
  }
  const budget = new Budget();
  const variables = variablesOf(policy, attempt, params, store, authorizer, budget);
  const evaluated = (expression: string): unknown => {
    budget.restart();
    return evaluate(expression, variables);
  };
  for (const condition of listAt(policy, 'spec', 'matchConditions')) {
    const result = evaluated(textAt(condition, 'expression') ?? '');
    if (result === false) return warnings;
    if (result === true) continue;
    if (failsClosed) deny(faultText(condition, result), undefined);
    return warnings;
  }
  for (const validation of listAt(policy, 'spec', 'validations')) {
    const result = evaluated(textAt(validation, 'expression') ?? '');
    if (result === true) continue;
    if (result !== false) {
      if (failsClosed) deny(faultText(validation, result), undefined);
      continue;
    }
    const expression = textAt(validation, 'expression') ?? '';
    const made = evaluated(textAt(validation, 'messageExpression') ?? 'null');
    const message =
      typeof made === 'string' && made.trim() !== ''
        ? made.trim()
        : (textAt(validation, 'message') ?? `failed expression: ${expression.trim()}`);
    deny(message, textAt(validation, 'reason'));
  }
  return warnings;
}

const codes: ReadonlyMap<string, number> = new Map([
  ['Unauthorized', 401],
  ['Forbidden', 403],
  ['Invalid', 422],
  ['RequestEntityTooLarge', 413],
]);

/** What does not evaluate. */
class Fault {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

const compiled = new Map<string, Compiled>();

function evaluate(expression: string, variables: Readonly<Record<string, unknown>>): unknown {
  const known = compiled.get(expression) ?? compile(policyEnvironment(), expression, null);
  compiled.set(expression, known);
  if ('fault' in known) return new Fault(known.fault);
  try {
    return known.program.evaluate(variables);
  } catch (error) {
    return new Fault(firstLine(error instanceof Error ? error.message : String(error)));
  }
}

function faultText(rule: Json, result: unknown): string {
  const why = result instanceof Fault ? result.text : 'it gives no bool';
  return `expression '${textAt(rule, 'expression')}' resulted in error: ${why}`;
}

/** Null: it takes none. Undefined: there is none. */
function paramsOf(policy: KubeObject, binding: KubeObject, store: ObjectStore): Json | undefined {
  const kind = textAt(policy, 'spec', 'paramKind', 'kind');
  if (kind === undefined) return null;
  const reference = at(binding, 'spec', 'paramRef');
  const name = textAt(reference, 'name') ?? '';
  const namespace = textAt(reference, 'namespace') ?? '';
  const apiVersion = textAt(policy, 'spec', 'paramKind', 'apiVersion') ?? '';
  const key = namespace === '' ? name : `${namespace}/${name}`;
  const found = store.tables().flatMap((table) => store.get(table, key) ?? []);
  return found.find(({ object }) => object.kind === kind && object.apiVersion === apiVersion)?.object;
}

function variablesOf(
  policy: KubeObject,
  attempt: Attempt,
  params: Json,
  store: ObjectStore,
  authorizer: Authorizer,
  budget: Budget,
): Readonly<Record<string, unknown>> {
  const { user, type, operation, subresource, namespace, name, object, old, dryRun } = attempt;
  const resource = { group: type.group, version: type.version, resource: type.plural };
  const kind = { group: type.group, version: type.version, kind: type.kind };
  const request: JsonObject = {
    ...{ kind, resource, operation, name, namespace, dryRun },
    ...{ subResource: subresource, requestKind: kind, requestResource: resource },
    requestSubResource: subresource,
    userInfo: { uid: '', ...userInfo(user) },
  };
  const itsNamespace = namespace === '' ? null : (store.get('/namespaces', namespace)?.object ?? null);
  const named: Record<string, unknown> = {};
  const all: Record<string, unknown> = {
    object: budget.counted(object),
    oldObject: budget.counted(old),
    request: celValue(request),
    params: budget.counted(params),
    namespaceObject: celValue(itsNamespace),
    authorizer: new AuthorizerValue(authorizer, user, {
      ...{ group: type.group, resource: type.plural, subresource, namespace, name },
    }),
    variables: named,
  };
  // Each is evaluated where it is first used, so that a fault of one counts only there.
  for (const variable of listAt(policy, 'spec', 'variables')) {
    const expression = textAt(variable, 'expression') ?? '';
    let known: { readonly value: unknown } | undefined;
    Object.defineProperty(named, textAt(variable, 'name') ?? '', {
      enumerable: true,
      get() {
        known ??= { value: evaluate(expression, all) };
        const { value } = known;
        if (value instanceof Fault) throw new Error(value.text);
        return value;
      },
    });
  }
  return all;
}

function isMatched(constraints: Json | undefined, attempt: Attempt, store: ObjectStore): boolean {
  const rules = listAt(constraints, 'resourceRules');
  if (rules.length > 0 && !rules.some((rule) => isRuleMatched(rule, attempt))) return false;
  if (listAt(constraints, 'excludeResourceRules').some((rule) => isRuleMatched(rule, attempt))) return false;
  const { type, namespace, object, old } = attempt;
  const ofNamespace = at(constraints, 'namespaceSelector');
  if (ofNamespace !== undefined && type.namespaced) {
    const labels = store.get('/namespaces', namespace)?.object.metadata.labels ?? {};
    if (!matchesSelector(ofNamespace, labels)) return false;
  }
  const ofObject = at(constraints, 'objectSelector');
  if (ofObject === undefined) return true;
  return [object, old].some((its) => its !== null && matchesSelector(ofObject, its.metadata.labels ?? {}));
}

function isRuleMatched(rule: Json, { type, operation, subresource, name, namespace }: Attempt): boolean {
  const holds = (member: string, value: string): boolean => {
    const patterns = textsAt(rule, member);
    return patterns.includes('*') || patterns.includes(value);
  };
  const resources = textsAt(rule, 'resources').some((pattern) => {
    const [resource = '', sub = ''] = pattern.split('/');
    return (resource === '*' || resource === type.plural) && (sub === '*' || sub === subresource);
  });
  const names = textsAt(rule, 'resourceNames');
  const scope = textAt(rule, 'scope') ?? '*';
  return (
    holds('apiGroups', type.group) &&
    holds('apiVersions', type.version) &&
    holds('operations', operation) &&
    resources &&
    (names.length === 0 || names.includes(name)) &&
    (scope === '*' || (scope === 'Namespaced') === (namespace !== '' && type.namespaced))
  );
}

/** What is wrong with a policy: the API takes none whose expressions do not compile. */
export function checkPolicy(object: KubeObject): readonly Cause[] {
  const causes: Cause[] = [];
  const check = (field: string, expression: string | undefined, wanted: 'bool' | 'string' | null): void => {
    if (expression === undefined || expression.trim() === '') {
      causes.push(required(field, 'expression is not specified'));
      return;
    }
    const result = compile(policyEnvironment(), expression, wanted);
    if ('fault' in result)
      causes.push(invalidValue(field, expression, `compilation failed: ${result.fault}`));
  };
  if (listAt(object, 'spec', 'matchConstraints', 'resourceRules').length === 0) {
    causes.push(required('spec.matchConstraints.resourceRules'));
  }
  const validations = listAt(object, 'spec', 'validations');
  if (validations.length === 0 && listAt(object, 'spec', 'auditAnnotations').length === 0) {
    const why = 'validations or auditAnnotations must contain at least one item';
    causes.push(required('spec.validations', why), required('spec.auditAnnotations', why));
  }
  const failure = textAt(object, 'spec', 'failurePolicy') ?? 'Fail';
  if (failure !== 'Fail' && failure !== 'Ignore') {
    causes.push(notSupported('spec.failurePolicy', failure, ['Fail', 'Ignore']));
  }
  const declared = new Set<string>();
  for (const [index, variable] of listAt(object, 'spec', 'variables').entries()) {
    const field = `spec.variables[${index}]`;
    const expression = textAt(variable, 'expression');
    check(`${field}.expression`, expression, null);
    causes.push(...undeclared(`${field}.expression`, expression ?? '', declared));
    declared.add(textAt(variable, 'name') ?? '');
  }
  for (const [index, condition] of listAt(object, 'spec', 'matchConditions').entries()) {
    check(`spec.matchConditions[${index}].expression`, textAt(condition, 'expression'), 'bool');
  }
  for (const [index, validation] of validations.entries()) {
    const field = `spec.validations[${index}]`;
    const expression = textAt(validation, 'expression');
    check(`${field}.expression`, expression, 'bool');
    causes.push(...undeclared(`${field}.expression`, expression ?? '', declared));
    const text = textAt(validation, 'messageExpression');
    if (text !== undefined) check(`${field}.messageExpression`, text, 'string');
    const reason = textAt(validation, 'reason');
    if (reason !== undefined && !codes.has(reason)) {
      causes.push(notSupported(`${field}.reason`, reason, [...codes.keys()]));
    }
  }
  return causes;
}

export function checkBinding(object: KubeObject): readonly Cause[] {
  const actions = textsAt(object, 'spec', 'validationActions');
  const known = ['Audit', 'Deny', 'Warn'];
  return [
    ...((textAt(object, 'spec', 'policyName') ?? '') === '' ? [required('spec.policyName')] : []),
    ...(actions.length === 0 ? [required('spec.validationActions')] : []),
    ...actions.flatMap((action, index) =>
      known.includes(action) ? [] : [notSupported(`spec.validationActions[${index}]`, action, known)],
    ),
    ...(actions.includes('Deny') && actions.includes('Warn')
      ? [invalidValue('spec.validationActions', actions, 'must not contain both Deny and Warn')]
      : []),
  ];
}

/** Variables are known to what comes after them only. */
function undeclared(field: string, expression: string, declared: ReadonlySet<string>): readonly Cause[] {
  const used = [...expression.matchAll(/\bvariables\.(\w+)/g)].map(([, name = '']) => name);
  return used
    .filter((name) => !declared.has(name))
    .map((name) => invalidValue(field, expression, `compilation failed: undefined field '${name}'`));
}
