import { shareMade } from '../swtpm-fixtures/made-once.ts';

// Each process of mocha loads this first.
shareMade(process.env.ASSAY_TEST_MADE);
