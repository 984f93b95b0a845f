output "id" {
  description = "The registry."
  value       = azurerm_container_registry.this.id
}

output "server" {
  description = "What images' names begin with."
  value       = "${azurerm_container_registry.this.name}.azurecr.io"
}
