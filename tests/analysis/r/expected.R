# Expected values for tests/analysis/test_stats.py: from this folder, `Rscript expected.R` (r-base-core, r-cran-car).
# Writes expected.csv (all digits), expected.txt (what R prints) and precise.csv (the same tests, fitted further than
# R's default tolerance, so that rounding inside R can be told from a mistake).
suppressMessages(library(car))
options(width = 132)
data_sets <- c("two_by_two", "two_by_four", "three_factors", "one_cell_at_one", "cell_nearly_one", "halves",
               "two_cells_at_zero", "all_separated")
REFERENCE <- c("rotated", "blocked")  # of the other factors: the first level in order of the alphabet

read <- function(name, contrasts) {
  table <- read.csv(paste0(name, ".csv"))
  for (column in intersect(c("rotation", "curriculum", "model"), names(table))) {
    levels <- sort(unique(table[[column]]))
    first <- intersect(levels, REFERENCE)
    table[[column]] <- factor(table[[column]], levels = unique(c(first, levels)))
    contrasts(table[[column]]) <- if (contrasts == "sum") contr.sum(length(levels)) else contr.treatment(levels)
  }
  table
}
expected <- NULL
keep <- function(data, test, family, contrasts, within, table, dispersion) {
  expected <<- rbind(expected, data.frame(data, test, family, contrasts, within, term = rownames(table), chi2 = table[[1]],
                                          df = table[["Df"]], p = table[["Pr(>Chisq)"]], dispersion))
}
responses <- "cbind(n_correct, n_queries - n_correct) ~ "

run <- function(control, printing) {
  for (name in data_sets) for (family in c("quasibinomial", "binomial")) for (contrasts in c("treatment", "sum")) {
    table <- read(name, contrasts)
    factors <- intersect(c("rotation", "curriculum", "model"), names(table))
    formula <- as.formula(paste0(responses, paste(factors, collapse = " * ")))
    full <- suppressWarnings(glm(formula, family = family, data = table, control = control))
    tests <- suppressWarnings(Anova(full, type = 3, test.statistic = "LR"))
    if (printing) { cat("\n###", name, "anova", family, contrasts, "all\n"); print(tests) }
    keep(name, "anova", family, contrasts, "all", tests, summary(full)$dispersion)
    if (contrasts == "sum") next
    for (level in levels(table$rotation)) {  # simple effects: a model of that rotation's rows alone
      rows <- table[table$rotation == level, ]
      formula <- as.formula(paste0(responses, paste(setdiff(factors, "rotation"), collapse = " * ")))
      part <- suppressWarnings(glm(formula, family = family, data = rows, control = control))
      tests <- suppressWarnings(Anova(part, type = 3, test.statistic = "LR"))
      if (printing) { cat("\n###", name, "simple", family, contrasts, level, "\n"); print(tests) }
      keep(name, "simple", family, contrasts, level, tests, summary(part)$dispersion)
      # the same, with the dispersion of the model of both rotations
      dispersion <- summary(full)$dispersion
      tests[[1]] <- tests[[1]] * summary(part)$dispersion / dispersion
      tests[[3]] <- pchisq(tests[[1]], tests[["Df"]], lower.tail = FALSE)
      keep(name, "simple_pooled", family, contrasts, level, tests, dispersion)
    }
  }
}

# Generalised score tests with seeds as clusters (Boos 1992; Rotnitzky & Jewell 1990), from R's fit without the term.
scores <- function() {
  for (name in c("two_by_two", "two_by_four", "cell_nearly_one", "three_factors")) for (contrasts in c("treatment", "sum")) {
    table <- read(name, contrasts)
    factors <- intersect(c("rotation", "curriculum", "model"), names(table))
    formula <- as.formula(paste("~", paste(factors, collapse = " * ")))
    X <- model.matrix(formula, table)
    terms <- attr(terms(formula), "term.labels")
    rows <- NULL
    for (i in seq_along(terms)) {
      tested <- attr(X, "assign") == i
      y <- ifelse(table$n_queries == 0, 0, table$n_correct / table$n_queries)
      null <- suppressWarnings(glm.fit(X[, !tested, drop = FALSE], y, table$n_queries, family = binomial(),
                                       control = list(epsilon = 1e-14, maxit = 100)))
      mu <- null$fitted.values
      of_seed <- rowsum(X * (table$n_correct - table$n_queries * mu), table$seed)  # seeds x coefficients
      information <- crossprod(X, X * (table$n_queries * mu * (1 - mu)))
      of_seed <- of_seed[, tested, drop = FALSE] - of_seed[, !tested, drop = FALSE] %*%
        solve(information[!tested, !tested], information[!tested, tested, drop = FALSE])
      U <- colSums(of_seed)
      chi2 <- drop(U %*% solve(crossprod(of_seed), U))
      rows <- rbind(rows, data.frame(chi2, Df = sum(tested), p = pchisq(chi2, sum(tested), lower.tail = FALSE)))
    }
    rownames(rows) <- terms
    names(rows)[3] <- "Pr(>Chisq)"
    keep(name, "clustered", "binomial", contrasts, "all", rows, 1)
  }
}

sink("expected.txt")
cat(R.version.string, ", car ", as.character(packageVersion("car")), "\n", sep = "")
run(glm.control(), printing = TRUE)
sink()
digits <- function(table) { for (c in c("chi2", "p", "dispersion")) table[[c]] <- sprintf("%.15g", table[[c]]); table }
write.csv(digits(expected), "expected.csv", row.names = FALSE, quote = FALSE)
expected <- NULL
run(glm.control(epsilon = 1e-14, maxit = 100), printing = FALSE)
scores()
write.csv(digits(expected), "precise.csv", row.names = FALSE, quote = FALSE)
