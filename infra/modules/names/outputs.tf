output "base" {
  description = "What names within the resource group begin with."
  value       = local.base
}

output "unique" {
  description = "What names begin with that must be unique in all of Azure and allow dashes."
  value       = "${local.base}-${local.suffix}"
}

output "compact" {
  description = "The same for names that allow letters and digits only."
  value       = "${var.name}${var.environment}${local.suffix}"
}

output "accounts" {
  description = "Names of the storage accounts, by what they hold."
  value       = local.accounts
}

output "tags" {
  description = "Tags of every resource."
  value = merge(var.tags, {
    application = var.name
    environment = var.environment
    managed-by  = "terraform"
  })
}
