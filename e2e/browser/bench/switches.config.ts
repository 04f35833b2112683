import { defineConfig } from '@playwright/test';

/** A measurement, not a test: `make bench-switches`. */
export default defineConfig({
  testDir: '.',
  testMatch: 'switches.bench.ts',
  workers: 1,
  timeout: 3_600_000,
  expect: { timeout: 30_000 },
  reporter: [['list']],
  outputDir: '../test-results',
});
