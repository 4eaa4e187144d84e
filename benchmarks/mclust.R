# EM of mclust for so many passes from a start that is given: Rscript mclust.R FOLDER ROWS FEATURES COMPONENTS MODEL PASSES
# Numbers come as little-endian doubles in column-major order; prints seconds and the mean log likelihood of a row.
suppressPackageStartupMessages(library(mclust))
given <- commandArgs(trailingOnly = TRUE)
n <- as.integer(given[2]); d <- as.integer(given[3]); k <- as.integer(given[4])
model <- given[5]; passes <- as.integer(given[6])
numbers <- function(name, count) readBin(file.path(given[1], name), "double", count, endian = "little")
x <- matrix(numbers("x", n * d), n, d)
mean <- matrix(numbers("means", d * k), d, k)
variance <- list(modelName = model, d = d, G = k)
if (model == "VVV") {
  variance$sigma <- array(numbers("covariances", d * d * k), c(d, d, k))
  variance$cholsigma <- array(apply(variance$sigma, 3, chol), c(d, d, k))
} else if (model == "EEE") {
  variance$Sigma <- matrix(numbers("covariances", d * d), d, d)
  variance$cholSigma <- chol(variance$Sigma)
  variance$sigma <- array(variance$Sigma, c(d, d, k))
} else if (model == "VVI") {
  v <- matrix(numbers("covariances", d * k), d, k)
  variance$scale <- exp(colMeans(log(v)))
  variance$shape <- sweep(v, 2, variance$scale, "/")
} else {
  variance$sigmasq <- numbers("covariances", k)
  variance$scale <- variance$sigmasq
}
start <- list(pro = numbers("weights", k), mean = mean, variance = variance)
control <- emControl(tol = c(0, 0), itmax = c(passes, passes))
took <- system.time(
  fitted <- em(modelName = model, data = x, parameters = start, control = control, warn = FALSE)
)[["elapsed"]]
loglik <- estep(modelName = model, data = x, parameters = fitted$parameters, warn = FALSE)$loglik
cat(took, loglik / n, "\n")
